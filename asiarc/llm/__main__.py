"""``python -m asiarc.llm faults`` prints the fault table; ``... cassette CAMPAIGN`` exports a recorded campaign."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from asiarc.errors import AsiarcError, EvidenceError, unknown_name
from asiarc.protocol import TIERS, Tier


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
    from asiarc.archive.store import Archive
    from asiarc.llm.tape import cassette_lines

    try:
        with Archive(store, write=False) as archive:
            runs = archive.runs(campaign, tier)
            if not runs:
                known = {f"{row['campaign']} ({row['tier']})" for row in archive.runs()}
                raise EvidenceError(unknown_name("campaign at this tier:", f"{campaign} ({tier})", known))
            click.echo(cassette_lines(Annex(archive).tape(runs[-1]["run"])), nl=False)
    except AsiarcError as error:
        raise click.ClickException(str(error)) from error


main()
