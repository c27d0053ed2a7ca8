"""``python -m tests.rigs``, from a checkout's root: one door to everything that measures the product."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import NamedTuple

import click

from asiarc.harness.options import Commands
from tests.rigs import ROOT, search_path


class Rig(NamedTuple):
    """Where a command is, and what it is for; a missing command breaks no other."""

    module: str
    does: str
    name: str = "main"


RIGS = {
    "sandbox": Rig("sandbox.commands", "this machine's layers, and every attack on them", "attacks"),
    "endurance": Rig("sandbox.commands", "kill the harness, spread its work: is the answer the same?", "endurance"),
    "overhead": Rig("sandbox.commands", "what the harness costs beside the bare training loop", "overhead"),
    "doors": Rig("doors", "the same proposals by API, folder, files and MCP: the same verdict?"),
    "llm": Rig("llm.faults", "what a language model's server can do wrong, and what is done about it"),
    "small-model": Rig("llm.small_model", "a language model from a Python package, as a server can serve it"),
    "policies": Rig("policies.commands", "which search policy spends a noisy budget best"),
    "arms": Rig("arms.commands", "the search's arms, simulated on a surrogate of real genomes; what repeats can tell"),
    "grammar": Rig("grammar", "how large the space of genomes is, what it reaches, how different its draws are"),
    "statistics": Rig("statistics.simulate", "coverage, power and false discoveries, by simulation"),
    "looks": Rig("statistics.looks", "what who builds on a referee's answers can make of noise, by simulation"),
    "pooling": Rig("statistics.pooling", "may mixers share one variance, and does pairing by seed pay?"),
    "archive": Rig("archive.million", "what the archive's questions cost with a million candidates in it"),
    "gates": Rig("gates.corpus", "the cheats that must be caught, the honest that must not, and the cost"),
    "fuzz": Rig("fuzz", "inputs that nobody meant: an answer or an AsiarcError, in linear time"),
    "ladder": Rig("ladder", "what a mixer costs at every named recipe; --train builds it"),
    "memory": Rig("memory", "the estimate of a training step's memory against what a step takes"),
    "pieces": Rig("pieces", "trials on a GPU that one has for minutes, there and back in a folder"),
    "loader": Rig("loader", "tokens a second of the loader alone, from parquet to rows"),
    "steps": Rig("steps", "steps of the paper's sizes in the memory there is; the loss in chunks beside the plain"),
    "instruments": Rig("instruments", "which task measures memory, what it costs, how noisy it is"),
    "panel": Rig("panel", "every mixer of the panel, alone and in a hybrid, at one size"),
    "scaling": Rig("scaling", "laws along the ladder, each rung foretold before it is trained"),
    "discovery": Rig("discovery", "a campaign of hours in pieces, carried from one machine to the next"),
    "law": Rig("law", "what searches bought for their compute: good candidates along it, hour by hour"),
    "discoveries": Rig("discoveries", "what a search found, against every mixer of the panel"),
    "cards": Rig("cards", "of each discovery: lineage, the parts that it needs, cost, how to train it again"),
    "cognition": Rig("cognition.quality", "does retrieval find what answers a weakness?"),
    "kernels": Rig("kernels.__main__", "speed gate, benches, compiled binaries, GPU checks of the kernels"),
    "questions": Rig("questions", "the shipped campaigns with their answers, from the committed reports"),
    "screenshots": Rig("screenshots", "the report and a running campaign as people see them"),
    "readme": Rig("readme", "the README's result block, from the committed reports"),
}  # fmt: skip


class Rigs(Commands):
    """Imports a rig when it is asked for: listing them needs neither torch nor ray."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of `RIGS`."""
        return list(RIGS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The rig's own command; a usage error where there is none."""
        if cmd_name not in RIGS:
            raise click.UsageError(f"no rig {cmd_name!r}; there are: {', '.join(RIGS)}")
        rig = RIGS[cmd_name]
        found = getattr(importlib.import_module(f"tests.rigs.{rig.module}"), rig.name, None)
        if not isinstance(found, click.Command):
            raise click.UsageError(f"tests.rigs.{rig.module} has no command {rig.name!r}")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, from the table."""
        with formatter.section("Rigs"):
            formatter.write_dl([(name, rig.does) for name, rig in RIGS.items()])


@click.group(cls=Rigs, epilog="Same populations and trial values, bit for bit: python -m pytest tests/rigs/same")
def main() -> None:
    """What measures the product. Exit status 1 where a promise does not hold."""
    if Path.cwd().resolve() != ROOT:
        raise click.UsageError(f"rigs read and write this checkout's folders: run them from {ROOT}")
    os.environ["PYTHONPATH"] = search_path()  # workers and nodes import rigs, too


if __name__ == "__main__":
    main(prog_name="python -m tests.rigs")
