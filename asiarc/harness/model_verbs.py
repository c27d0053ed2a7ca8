"""``asiarc llm``: what was asked of language models, what it came to and cost; campaigns are recorded and replayed
here, too. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from asiarc.core.recipe import Tier
from asiarc.harness.options import AS_JSON, STORE, TIER, WORKERS, Commands, latest_run, project_store, told

FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group(cls=Commands)
def main() -> None:
    """Language models: what was asked of them, what it came to and cost."""


@main.command()
@FILE
@TIER
@WORKERS
@click.option("--base-url", default=None, metavar="URL", help="an OpenAI-compatible endpoint (default: OpenAI's own)")
@click.option("--store", type=click.Path(path_type=Path), default=None, help="default: .asiarc/recording of its name")
@AS_JSON
def record(file: Path, tier: Tier, workers: int, base_url: str | None, store: Path | None, as_json: bool) -> None:
    """Run a campaign, ask its models what is not recorded yet, and keep the exchanges beside its file."""
    from asiarc.harness.recording import cassette_of
    from asiarc.harness.recording import record as asked
    from asiarc.report.exchanges import lines

    folder = store or project_store() / f"recording-{file.stem}"
    try:
        found = asked(file, folder, tier, base_url=base_url, workers=workers, say=_say(as_json))
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; every reply is kept in {folder}: the same command goes on") from None
    if as_json:
        told({"recorded": cassette_of(file), "facts": found})
        return
    click.echo("\n".join([*lines(found), f"recorded in {cassette_of(file)}; replay it with: asiarc llm replay {file}"]))


@main.command()
@FILE
@TIER
@WORKERS
@AS_JSON
def replay(file: Path, tier: Tier, workers: int, as_json: bool) -> None:
    """Run a recorded campaign anew, without key or network; exit status 1 unless it is the same, numbers to 1e-3."""
    from asiarc.harness.recording import replay as replayed
    from asiarc.llm.address import KEYS
    from asiarc.report.exchanges import lines

    for name in KEYS:
        os.environ.pop(name, None)
    found = replayed(file, tier, workers=workers, say=_say(as_json))
    if as_json:
        same = {"is_same": found.is_same, "is_identical": found.is_identical}
        told(same | {"differences": found.differences, "drift": found.drift})
        sys.exit(not found.is_same)
    said = list(found.differences)
    if found.drift:
        said.append(f"measured numbers differ by at most {found.drift:.2g}: another processor rounds otherwise")
    click.echo("\n".join([*lines(found.facts), *(said or ["the replay is the recording, to the last bit"])]))
    sys.exit(not found.is_same)


@main.command()
@click.argument("campaign")
@TIER
@STORE
@AS_JSON
def report(campaign: str, tier: Tier, store: Path, as_json: bool) -> None:
    """What the models of a campaign's latest run did: replies, revisions, predictions, checks, and spend by role."""
    from asiarc.report.exchanges import facts, ledger_of_run, lines
    from asiarc.report.models import model_lines

    with latest_run(campaign, tier, store) as (archive, run):
        found, models, spent = (facts(archive, run), model_lines(archive, run), ledger_of_run(archive, run).lines())
    if as_json:
        told(found)
    else:
        asked = [*models, *lines(found), *spent]
        click.echo("\n".join(asked if models else ["no language model was asked in this run"]))


@main.command()
@click.argument("campaign")
@TIER
@STORE
@AS_JSON
def judge(campaign: str, tier: Tier, store: Path, as_json: bool) -> None:
    """What the judge is worth, over all runs of a campaign: agreement with itself and with held-out gains."""
    from asiarc.analyst.marking import reliability_over

    with latest_run(campaign, tier, store) as (archive, _):
        runs = [row["run"] for row in archive.runs(campaign, tier)]
        found = reliability_over(archive, runs)
    if as_json:
        told(asdict(found) | {"line": found.line()})
    else:
        click.echo(found.line())


def _say(as_json: bool) -> Callable[[str], None]:
    """Where progress goes: not among data."""
    return partial(click.echo, err=as_json)
