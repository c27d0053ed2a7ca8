"""``asiarc export``: a trained candidate as a model folder. Nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path

import click

from asiarc.core.recipe import Tier
from asiarc.harness.options import AS_JSON, STORE, TIER, say, told


@click.command()
@click.argument("candidate")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--campaign", default=None, metavar="NAME", help="of a candidate in several campaigns: as trained there")
@TIER
@STORE
@AS_JSON
def export(candidate: str, folder: Path, campaign: str | None, tier: Tier, store: Path, as_json: bool) -> None:
    """A model folder that transformers and lm-eval load without asiarc: of an address, of a campaign's winner by the
    campaign's name, or of a baseline. It is trained again as it was, scored, and refused if the score is another."""
    from asiarc.archive.store import Archive
    from asiarc.export.card import summary_line
    from asiarc.export.chosen import choose
    from asiarc.export.making import export as make

    with Archive(store, write=False) as archive:
        chosen = choose(archive, candidate, tier, campaign)
        found = make(archive, chosen, folder, lambda line: say(line, err=True))
    if as_json:
        told(found)
    else:
        say(summary_line(found))
