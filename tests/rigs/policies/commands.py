"""Record the table, and let every policy search on it."""

from __future__ import annotations

from pathlib import Path

import click

from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.harness.options import WORKERS, Commands

TABLE = Path("results") / "search" / "table.json"


@click.group(cls=Commands)
def main() -> None:
    """Search policies compared on the same footing."""


@main.command()
@click.option("--store", type=click.Path(path_type=Path), required=True, help="folder of the recording's archive")
@click.option(
    "--minutes", type=float, default=5.0, show_default=True, help="stop after about so long; run again to go on"
)
@click.option("--candidates", type=click.IntRange(1), default=80, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=4, show_default=True)
@WORKERS
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, show_default=True, help="written when whole")
def record(store: Path, minutes: float, candidates: int, seeds: int, workers: int, table: Path) -> None:
    """Train the population for real, piece by piece, and write the table when nothing is left to train."""
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import trial_executor
    from tests.rigs.policies.record import Recording

    with Archive(store) as archive, trial_executor(workers) as executor:
        recording = Recording(archive, executor, candidates, seeds)
        if recording.record(minutes, click.echo):
            recording.table().write(table)
            click.echo(f"whole; written to {table}")
        else:
            click.echo("not whole yet: run the same command again to go on")


@main.command()
@click.argument("searches", type=click.IntRange(min=2), default=1_000)
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, show_default=True)
@click.option("--policy", "names", multiple=True, help="only these policies; repeat to name several")
def replay(searches: int, table: Path, names: tuple[str, ...]) -> None:
    """Let every policy search a simulated population and the recorded table SEARCHES times each, at equal compute."""
    from asiarc.search.policies import POLICIES
    from tests.rigs.policies.replay import bench

    for unknown in set(names) - POLICIES.keys():
        raise EvidenceError(unknown_name("policy", unknown, POLICIES))
    for line in bench(table, searches, names):
        click.echo(line)


@main.command()
@click.argument("searches", type=click.IntRange(min=2), default=20_000)
def ceiling(searches: int) -> None:
    """How often rules that are told spread and noise find the best of the simulated population."""
    from tests.rigs.policies.ceiling import lines

    for line in lines(searches):
        click.echo(line)


@main.command()
@click.argument("searches", type=click.IntRange(min=2), default=100)
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, show_default=True)
def sections(searches: int, table: Path) -> None:
    """What the grammar loses in SEARCHES searches where a section of its context is left out."""
    from tests.rigs.policies.sections import lines

    for line in lines(table, searches):
        click.echo(line)
