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

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="a checkout has the page, an installation does not")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def commands(start):
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(start)]


def test_its_modules_are_commands():
    named = [words[words.index("-m") + 1] for words in commands("python -m asiarc") + commands("torchrun")]
    assert {"asiarc.execution", "tests.rigs.ladder", "asiarc.engineer.distributed"} <= set(named)
    for name in named:
        package = importlib.util.find_spec(name).submodule_search_locations
        assert importlib.util.find_spec(f"{name}.__main__" if package else name)


@pytest.mark.parametrize("module", ["engineer.ladder", "engineer.distributed"])
def test_options_are_those_of_the_command(module):
    given = [w for w in commands("python -m asiarc") + commands("torchrun") if f"asiarc.{module}" in w]
    command = importlib.import_module(f"asiarc.{module}").main
    allowed = {name for parameter in command.params for name in parameter.opts}
    for words in given:
        mine = words[words.index(f"asiarc.{module}") + 1 :]
        assert {word for word in mine if word.startswith("--")} <= allowed
    assert given and isinstance(command, click.Command)


def test_the_campaign_on_a_cluster_is_understood(tmp_path):
    """Collected with the options of the page: an unknown one would be a usage error."""
    (words,) = commands("pytest campaigns")
    command = [sys.executable, "-m", *words, "--collect-only", "-q", "-p", "no:cacheprovider"]
    command[command.index("--store") + 1] = str(tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PAGE.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_python_on_it_fits():
    (block,) = blocks("python")
    tree = compile(block, "cluster.md", "exec")
    assert "RayExecutor" in tree.co_names
    if importlib.util.find_spec("ray") is not None:
        from asiarc.execution.ray import RayExecutor

        assert {"address", "gpus_per_job"} <= set(inspect.signature(RayExecutor).parameters)
