"""``python -m tests.rigs discovery --minutes 60``: a campaign of hours in pieces, on whatever machine there is.

The campaign, or with ``--claims`` the whole reproduction, runs as a user runs it and is interrupted when the minutes
are over; what was trained is in one committed file, from which the next piece, here or on another machine, goes on. The
last piece leaves a whole run, which `asiarc report` publishes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from asiarc.core.recipe import TIERS, Tier
from tests.rigs import ROOT
from tests.rigs.kept import carried

FOLDER = ROOT / "results" / "discovery"
ENDING_S = 120  # what an interrupted run may take to end its trials


@click.command()
@click.option("--campaign", default="asi_arch", show_default=True, help="of campaigns/campaign_NAME.py")
@click.option("--search", default="", help="another campaign of that file")
@click.option("--claims", is_flag=True, help="in place of a campaign, all that `asiarc reproduce` asks")
@click.option("--tier", type=click.Choice(TIERS), default="full", show_default=True)
@click.option("--minutes", type=float, default=60.0, show_default=True, help="interrupted after them")
@click.option("--store", type=click.Path(path_type=Path), default=Path(".asiarc/discovery"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(campaign: str, search: str, claims: bool, tier: Tier, minutes: float, store: Path, output: Path) -> None:
    """A shipped campaign in pieces: its next minutes."""
    name = "reproduction" if claims else search or campaign
    asked = ["pytest", f"campaigns/campaign_{campaign}.py::{name}", "-q", "--no-report"]  # as anybody would type it
    words = ["asiarc", "reproduce"] if claims else asked
    with carried(store, output / f"{name}-{tier}.jsonl.gz"):
        click.echo(piece([*words, "--tier", tier, "--store", str(store)], minutes))


def piece(words: Sequence[str], minutes: float) -> str:
    """Run a module with its arguments for some minutes; how that ended, in words."""
    with subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, start_new_session=True) as running:
        try:
            status = running.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C does: to whatever it has started, too
            running.wait(ENDING_S)
            return f"interrupted after {minutes:g} minutes; the same command goes on"
    return "whole" if status == 0 else f"ended with status {status}"
