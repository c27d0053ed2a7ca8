"""What docs/cluster.md tells its reader to type exists."""

import importlib
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.rigs.__main__ import main as rigs

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="a checkout has the page, an installation does not")


def blocks(kind):
    return re.findall(rf"```{kind}[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)


def commands(start):
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(start)]


def doors(kind):
    """(module, words after it) of every line that runs one."""
    found = [
        (words[words.index("-m") + 1], words[words.index("-m") + 2 :]) for words in commands(kind) if "-m" in words
    ]
    return [(module, rest) for module, rest in found if module != "pip"]


def test_its_rigs_are_there_with_their_options():
    found = [rest for module, rest in doors("python") if module == "tests.rigs"]
    assert {"sandbox", "endurance", "ladder"} == {rest[0] for rest in found}
    for name, *rest in found:
        command = rigs.get_command(click.Context(rigs), name)
        if isinstance(command, click.Group):
            command = command.commands[rest[0]]
        assert {word for word in rest if word.startswith("--")} <= options(command)


def test_the_large_trial_is_started_as_the_page_says():
    ((module, words),) = doors("torchrun")
    command = importlib.import_module(module).main
    assert words and {word for word in words if word.startswith("--")} <= options(command)


def options(command):
    return {name for parameter in command.params for name in parameter.opts}


def test_the_campaign_on_a_cluster_is_understood(tmp_path):
    """Collected with the options of the page: an unknown one would be a usage error."""
    (words,) = commands("pytest campaigns")
    command = [sys.executable, "-m", *words, "--collect-only", "-q", "-p", "no:cacheprovider"]
    command[command.index("--store") + 1] = str(tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PAGE.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_python_on_it_fits():
    found = blocks("python")
    assert found and all("RayExecutor" in compile(block, "cluster.md", "exec").co_names for block in found)
    if importlib.util.find_spec("ray") is not None:
        from asiarc.execution.ray import RayExecutor

        assert {"address", "gpus_per_job"} <= set(inspect.signature(RayExecutor).parameters)
