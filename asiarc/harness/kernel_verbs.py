"""``asiarc kernel``: what is asked of a kernel file that somebody submitted."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import click

from asiarc.harness.options import AS_JSON, Commands

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


def lines(file: Path, name: str, findings: dict[str, list[str]], notes: list[str]) -> list[str]:
    """What was found of one kernel, within 80 columns."""
    told = [(check, text) for check, texts in findings.items() for text in texts]
    verdict = f"{len(told)} found" if told else "nothing found"
    body = [f"{check}: {text}" for check, text in told] + notes
    wrapped = (textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      ") for text in body)
    return [*textwrap.wrap(f"{file.name}::{name}: {verdict}", WIDTH), *(line for part in wrapped for line in part)]
