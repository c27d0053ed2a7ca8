"""The door in the shell: whoever works in a folder proposes a file, and is told what the referee found.

Exit status of `propose`: 0 ahead, 3 not told apart, 4 behind, 5 rejected, 6 admitted and not trained yet; of several
files, the best one's. All that these verbs tell is explore's. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asiarc.core.errors import CampaignError
from asiarc.core.recipe import Tier
from asiarc.harness.archive_verbs import console, result_of
from asiarc.harness.options import AS_JSON, STORE, TIER, WORKERS, project_store, require_device, say, told

if TYPE_CHECKING:
    from asiarc.loop.door import Door, Twin
    from asiarc.loop.feedback import Feedback, GainOver

KNOWN = 3  # exit status of `tried`
CAMPAIGN = click.option("--campaign", required=True, metavar="NAME", help="an open campaign: its name, or its file")


@contextmanager
def door_of(campaign: str, tier: Tier, store: Path, workers: int) -> Iterator[Door]:
    """The door of a campaign, once nobody else writes in its archive; its minutes count from here."""
    from asiarc.archive.store import Archive
    from asiarc.campaign.loading import named
    from asiarc.engineer import workshop
    from asiarc.loop.door import Door
    from asiarc.loop.run import Run

    name, declared, file = named(campaign, (project_store().parent, Path.cwd()))
    declared = declared.at(file.parent)
    minutes = declared.budget.at(tier).minutes
    require_device(tier)
    aside = partial(say, err=True)
    with Archive(store, wait=aside) as archive, workshop.trial_executor(workers) as executor:
        shop = workshop.Workshop(archive, executor, deadline=time.monotonic() + 60 * minutes)
        yield Door(Run(declared, name, tier, archive, shop, lambda _: None, beat=aside))


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@CAMPAIGN
@click.option("--parent", default="", metavar="ADDRESS", help="what it was made of (default: the parent of the brief)")
@click.option("--idea", default="", metavar="TEXT", help="why it should work (default: the file's docstring)")
@click.option("--author", default="a person", show_default=True, metavar="NAME", help="who proposes")
@TIER
@STORE
@WORKERS
@AS_JSON
def propose(
    path: Path, campaign: str, parent: str, idea: str, author: str, tier: Tier, store: Path, workers: int, as_json: bool
) -> None:
    """Referee a candidate's file, or every file of a folder: the gates, explore, and what it gained.

    Exit status: 0 ahead of start_from, 3 not told apart from it, 4 behind, 5 rejected, 6 admitted and not trained yet;
    of several files the best one's.
    """
    from asiarc.archive.results import CampaignResult
    from asiarc.loop.door import steady_source
    from asiarc.loop.feedback import WORDS, Reader

    sources = {file: steady_source(file) for file in _files(path)}
    with door_of(campaign, tier, store, workers) as door:
        found: list[tuple[Path, Twin | None, int | None]] = []
        search = door.walk()
        door.require(sum(door.known(source) is None for source in sources.values()))
        for file, source in sources.items():
            twin = door.known(source)
            number = twin.number if twin else None
            if twin is None:
                number = door.propose(source, search, name=file.stem, parent=parent, idea=idea, author=author)
                search = door.walk()
            found.append((file, twin, number))
        reader = Reader(CampaignResult.load(door.archive, door.run.run))
        heard = [(file, twin, None if number is None else reader.of(number)) for file, twin, number in found]
        left = {"candidates": door.budget - door.proposed, "trainings": max(0.0, search.board.left)}
    status = min(WORDS[feedback.word] if feedback else WORDS["rejected"] for _, _, feedback in heard)
    if as_json:
        proposals = [
            {"file": file, "known_as": twin and asdict(twin), "word": "rejected", **as_data(feedback)}
            for file, twin, feedback in heard
        ]
        told({"campaign": door.run.label, "tier": tier, "run": door.run.run, "left": left, "proposals": proposals})
        sys.exit(status)
    for file, twin, feedback in heard:
        for line in [*_known(file, twin), *(lines(feedback) if feedback else ())]:
            say(line)
    say(f"left: {left['candidates']} candidates, {left['trainings']:.1f} full trainings of explore")
    sys.exit(status)


def _files(path: Path) -> Sequence[Path]:
    """A file, or the Python files of a folder by name."""
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    if not files:
        raise CampaignError(f"no Python file in {path}; a candidate is one file NAME.py")
    return files


def _known(file: Path, twin: Twin | None) -> Iterator[str]:
    """Who a file is already."""
    if twin is not None:
        place = "the baseline" if twin.number is None else f"#{twin.number}"
        how = "the same program as" if twin.by == "program" else "computes the same as"
        yield f"{file}: {how} {place} {twin.name} ({twin.address}); nothing was trained again"


def as_data(feedback: Feedback | None) -> dict[str, Any]:
    """Feedback as --json tells it."""
    if feedback is None:
        return {}
    return asdict(feedback) | {"outcome": feedback.outcome and feedback.outcome.as_dict()}


def lines(feedback: Feedback) -> Iterator[str]:
    """Feedback for a person."""
    from asiarc.report import wording

    yield f"#{feedback.number} {feedback.address} {feedback.name} by {feedback.author}: {feedback.word}"
    if feedback.told and feedback.outcome is not None:
        first, *more = feedback.told
        gate = feedback.outcome.gate or feedback.outcome.kind
        yield f"  {gate}: {first}"
        yield from (f"  {line}" for line in more)
    if not feedback.holds:
        yield "  it fails a capability check that start_from passes"
    for score in feedback.scores:
        yield f"  over {score.over}: {interval(score)} {score.where}"
    trials, cpu = wording.plural(feedback.trials, "trial"), wording.hours(feedback.cpu_s)
    yield f"  cost: {trials}, {cpu} CPU-hours, {wording.large(feedback.tokens)} tokens"


def interval(score: GainOver) -> str:
    """A gain with its interval, or that it has none."""
    if score.low is None:
        return f"{score.gain:+.4f} {score.unit} (no seed was repeated, so without an interval)"
    return f"{score.gain:+.4f} [{score.low:+.4f}, {score.high:+.4f}] {score.unit}, widened for {score.compared} scored,"


@click.command()
@click.argument("campaign")
@TIER
@STORE
@WORKERS
@AS_JSON
def brief(campaign: str, tier: Tier, store: Path, workers: int, as_json: bool) -> None:
    """What a researcher may know before the next proposal: contract, operators, parent, relatives, failures, papers.

    The first look at a campaign trains its baselines.
    """
    from asiarc.core.proposal import as_json as context_as_json
    from asiarc.researcher.briefing import brief as page

    with door_of(campaign, tier, store, workers) as door:
        context = door.context(door.walk())
        label = door.run.label
    text = page(context, label)
    if as_json:
        told({"campaign": label, "tier": tier, "number": context.index, "brief": text,
              "context": context_as_json(context)})  # fmt: skip
    else:
        click.echo(text)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@CAMPAIGN
@TIER
@STORE
@WORKERS
@AS_JSON
def tried(file: Path, campaign: str, tier: Tier, store: Path, workers: int, as_json: bool) -> None:
    """Whether a file was proposed before, or computes what a baseline or an earlier candidate computes.

    Exit status: 0 where it is new, 3 where it is known. It takes nothing of the budget.
    """
    from asiarc.loop.door import steady_source

    source = steady_source(file)
    with door_of(campaign, tier, store, workers) as door:
        twin = door.known(source) or door.behaves_as(source)
    if as_json:
        told({"file": file, "known_as": twin and asdict(twin)})
    else:
        say(next(_known(file, twin), f"{file}: no baseline and no candidate of {campaign} is known to do the same"))
    sys.exit(KNOWN if twin else 0)


@click.command()
@click.argument("campaign")
@TIER
@STORE
@AS_JSON
def standings(campaign: str, tier: Tier, store: Path, as_json: bool) -> None:
    """The proposals of a campaign by what explore says of them, the best first: who made them, gain, interval."""
    from asiarc.loop.feedback import WORDS, Reader

    with result_of(campaign, tier, store) as (result, _):
        found = Reader(result).all()
    found.sort(key=lambda one: (WORDS[one.word], -one.rung, -(one.scores[0].gain if one.scores else 0.0), one.number))
    if as_json:
        told([as_data(one) for one in found])
        return
    _print(found)


def _print(found: Sequence[Feedback]) -> None:
    from rich.table import Table

    table = Table("#", "address", "name", "by", "rung", "gain", "", box=None, padding=(0, 1, 0, 0))
    for one in found:
        gain = _short(one.scores[0]) if one.scores else next(iter(one.told), "")
        table.add_row(str(one.number), one.address, one.name, one.author, str(one.rung + 1), gain, one.word)
    console().print(table)


def _short(score: GainOver) -> str:
    """A gain for a row."""
    return f"{score.gain:+.4f}" + ("" if score.low is None else f" [{score.low:+.4f}, {score.high:+.4f}]")
