"""``asiarc kernel``: what is asked of a kernel file that somebody submitted."""

from __future__ import annotations

import json
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import click

from asiarc.harness.options import AS_JSON, STORE, Commands, say, told

WIDTH = 80
NOT_MEASURED = 2


@click.group(cls=Commands)
def main() -> None:
    """Kernels: is one right, lean and honest? In a repository of your own: pytest kernels."""


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="draws the hidden shapes and values")
@click.option("--no-speed", is_flag=True, help="take no times, where the file declares a speed")
@AS_JSON
def check(file: Path, seed: int, no_speed: bool, as_json: bool) -> None:
    """Judge a submitted kernel: accuracy, properties, operators and bytes, the red team's checks, then its time.

    FILE declares kernels (NAME = Kernel(...)), or defines a function named as one of asiarc's operators. Exit status 1
    where anything is found, 2 where only the time could not be measured.
    """
    from asiarc.speed.verdict import judge_file

    found = judge_file(file, seed, speed=not no_speed)
    if as_json:
        click.echo(json.dumps({"file": str(file), "kernels": [one.as_dict() for one in found]}, indent=1))
    else:
        click.echo("\n".join(line for one in found for line in lines(file, one.name, one.findings, one.notes)))
    sys.exit(1 if any(one.findings for one in found) else NOT_MEASURED * any(one.unmeasured for one in found))


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--operator", required=True, metavar="NAME", help="whose kernel it is to be")
@click.option("--author", default="a person", show_default=True, metavar="NAME", help="who proposes")
@click.option("--idea", default="", metavar="TEXT", help="why it should be faster (default: the file's docstring)")
@click.option("--no-speed", is_flag=True, help="take no times")
@STORE
@AS_JSON
def propose(
    file: Path, operator: str, author: str, idea: str, no_speed: bool, store: Path, as_json: bool
) -> None:
    """Referee another kernel for one of asiarc's operators: FILE defines a function of its name.

    It has to be right, honest and lean, and is then timed against the shipped one, in turn. Exit status: 0 ahead, 3 not
    told apart from it, 4 behind, 5 rejected, 6 right and not timed.
    """
    from asiarc.archive.store import Archive
    from asiarc.core.candidate import read_source
    from asiarc.speed import proposing

    source = read_source(file)
    with Archive(store, wait=partial(say, err=True)) as archive:
        found = proposing.propose(
            archive, operator, source, name=file.stem, author=author, idea=idea, timed=not no_speed
        )
    if as_json:
        told(found)
    else:
        say("\n".join(described(found)))
    sys.exit(proposing.WORDS[found["word"]])


@main.command()
@click.argument("operator")
@STORE
@AS_JSON
def standings(operator: str, store: Path, as_json: bool) -> None:
    """The kernels that were proposed for an operator, the best first."""
    from asiarc.archive.store import Archive
    from asiarc.speed import proposing

    with Archive(store, write=False) as archive:
        found = proposing.standings(archive, operator)
    if as_json:
        told(found)
        return
    for row in found:
        say("\n".join(described(row)))
    if not found:
        say(f"nobody has proposed one; propose with: asiarc kernel propose FILE --operator {operator}")


def described(row: dict[str, Any]) -> list[str]:
    """A proposal for a person, within 80 columns."""
    head = "#{number} {address} {name} by {author}: {word}".format(**row)
    return [head, *body(row["told"]["findings"], row["told"]["notes"])]


def lines(file: Path, name: str, findings: dict[str, list[str]], notes: list[str]) -> list[str]:
    """What was found of one kernel, within 80 columns."""
    found = sum(map(len, findings.values()))
    verdict = f"{found} found" if found else "nothing found"
    return [*textwrap.wrap(f"{file.name}::{name}: {verdict}", WIDTH), *body(findings, notes)]


def body(findings: dict[str, list[str]], notes: list[str]) -> list[str]:
    """What was found by check, and what was noted."""
    told = [f"{check}: {text}" for check, texts in findings.items() for text in texts] + notes
    wrapped = (textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      ") for text in told)
    return [line for part in wrapped for line in part]
