"""``python -m asiarc.llm faults`` prints the fault table, ``report CAMPAIGN`` what the models of a campaign did;
``cassette CAMPAIGN`` writes its exchanges, to be kept beside the campaign's file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asiarc.errors import AsiarcError, EvidenceError, unknown_name
from asiarc.protocol import TIERS, Tier

if TYPE_CHECKING:
    from asiarc.archive.store import Archive


@click.group()
def main() -> None:
    """Language models: what can go wrong, and what was recorded."""


@main.command()
def faults() -> None:
    """Every fault over a loopback server, and how it was handled; exit status 1 if one was not as named."""
    from asiarc.llm.faults import render, rows

    table = rows()
    click.echo(render(table))
    sys.exit(not all(row.as_named for row in table))


@main.command()
@click.argument("campaign")
@click.option("--tier", type=click.Choice(TIERS), default="smoke", show_default=True)
@click.option("--store", type=click.Path(path_type=Path), default=Path(".asiarc"), show_default=True)
def cassette(campaign: str, tier: Tier, store: Path) -> None:
    """The exchanges of a campaign's latest run as JSON lines, to be kept beside the campaign's file."""
    from asiarc.archive.annex import Annex
    from asiarc.llm.tape import cassette_lines

    with _latest(campaign, tier, store) as (archive, run):
        click.echo(cassette_lines(Annex(archive).tape(run)), nl=False)


@main.command()
@click.argument("campaign")
@click.option("--tier", type=click.Choice(TIERS), default="smoke", show_default=True)
@click.option("--store", type=click.Path(path_type=Path), default=Path(".asiarc"), show_default=True)
def report(campaign: str, tier: Tier, store: Path) -> None:
    """What the models of a campaign's latest run did: replies, revisions, predictions, checks."""
    from asiarc.report.models import model_lines

    with _latest(campaign, tier, store) as (archive, run):
        click.echo("\n".join(model_lines(archive, run) or ["no language model was asked in this run"]))


@contextmanager
def _latest(campaign: str, tier: Tier, store: Path) -> Iterator[tuple[Archive, str]]:
    """The latest run of a campaign; its errors as messages."""
    from asiarc.archive.store import Archive

    try:
        with Archive(store, write=False) as archive:
            runs = archive.runs(campaign, tier)
            if not runs:
                known = {f"{row['campaign']} ({row['tier']})" for row in archive.runs()}
                raise EvidenceError(unknown_name("campaign at this tier:", f"{campaign} ({tier})", known))
            yield archive, runs[-1]["run"]
    except AsiarcError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
