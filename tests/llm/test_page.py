"""What docs/language_models.md tells its reader to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from asiarc.campaign.declaration import Models
from asiarc.harness.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "language_models.md"
TEXT = PAGE.read_text()
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh[^\n]*\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("asiarc ")
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_is_there_with_its_options(words):
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= options
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    assert len(arguments) >= bool(rest and not rest[0].startswith("-"))


def test_it_shows_at_least_the_commands_that_count():
    named = {tuple(words[1:3]) for words in COMMANDS}
    assert {("llm", "record"), ("llm", "replay"), ("llm", "judge"), ("cognition", "promote")} <= named


def test_its_models_are_accepted():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert isinstance(names["models"], Models) and names["models"].embedding == "vectors"


def test_its_files_are_there():
    named = re.findall(r"(?:results|campaigns)/[\w/]+\.py", TEXT)
    assert named and all((PAGE.parents[1] / path).exists() for path in named if "mine" not in path)
