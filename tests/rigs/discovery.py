"""``python -m tests.rigs discovery --minutes 60``: a campaign of hours in pieces, on whatever machine there is.

The campaign runs as a user runs it and is interrupted when the minutes are over; what was trained is in one committed
file, from which the next piece, here or on another machine, goes on. The last piece leaves a whole run, which
`asiarc report` publishes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
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
@click.option("--tier", type=click.Choice(TIERS), default="full", show_default=True)
@click.option("--minutes", type=float, default=60.0, show_default=True, help="interrupted after them")
@click.option("--store", type=click.Path(path_type=Path), default=Path(".asiarc/discovery"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(campaign: str, search: str, tier: Tier, minutes: float, store: Path, output: Path) -> None:
    """A shipped campaign in pieces: its next minutes."""
    file, name = ROOT / "campaigns" / f"campaign_{campaign}.py", search or campaign
    with carried(store, output / f"{name}-{tier}.jsonl.gz"):
        click.echo(piece(f"{file}::{name}", tier, minutes, store))


def piece(asked: str, tier: Tier, minutes: float, store: Path) -> str:
    """Run a campaign, FILE::NAME, for some minutes; how that ended, in words."""
    command = [sys.executable, "-m", "pytest", asked, "--tier", tier, "--store", str(store), "-q", "--no-report"]
    with subprocess.Popen(command, cwd=ROOT) as running:
        try:
            status = running.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)
            running.wait(ENDING_S)
            return f"interrupted after {minutes:g} minutes; the same command goes on"
    return "whole" if status == 0 else f"ended with status {status}"
