"""The door in the shell: whoever works in a folder proposes a file, and is told what the referee found.

Exit status of `propose`: 0 ahead, 3 not told apart, 4 behind, 5 rejected, 6 admitted and not trained yet; of several
files, the best one's. All that these verbs tell is explore's. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asiarc.core.errors import CampaignError
from asiarc.core.recipe import Tier
from asiarc.harness.archive_verbs import console
from asiarc.harness.options import (
    AS_JSON,
    STORE,
    TIER,
    WORKERS,
    is_of_kernels,
    latest_run,
    project_store,
    require_device,
    say,
    told,
)

if TYPE_CHECKING:
    from asiarc.campaign.declaration import Campaign
    from asiarc.campaign.kernels import KernelCampaign
    from asiarc.harness.desk import Desk
    from asiarc.harness.kernel_desk import KernelDesk
    from asiarc.loop.door import Door

KNOWN = 3  # exit status of `tried`
DECIDED = {"better": 0, "worse": 4}
"""Exit statuses of `verdict`; of all else `UNTOLD`."""
UNTOLD = 3
CAMPAIGN = click.option("--campaign", required=True, metavar="NAME", help="an open campaign: its name, or its file")
REFEREE = click.option(
    "--referee", envvar="ASIARC_REFEREE", metavar="SOCKET", help="who holds the store: a Unix socket, or HOST:PORT"
)
Row = dict[str, Any]


@contextmanager
def door_of(
    campaign: str, tier: Tier, store: Path, workers: int, checked: Callable[[Path], None] = lambda _: None
) -> Iterator[Door]:
    """The door of a campaign, once nobody else writes in its archive; its minutes count from here. `checked` sees its
    file before that is run."""
    from asiarc.campaign.loading import named, of_models

    name, declared, file = named(campaign, (project_store().parent, Path.cwd()), checked)
    with _opened(name, of_models(name, declared).at(file.parent), tier, store, workers) as door:
        yield door


@contextmanager
def _opened(name: str, declared: Campaign, tier: Tier, store: Path, workers: int) -> Iterator[Door]:
    from asiarc.archive.store import Archive
    from asiarc.engineer import workshop
    from asiarc.engineer.sealed import workshop_of
    from asiarc.loop.door import Door
    from asiarc.loop.run import Run

    minutes = declared.budget.at(tier).minutes
    require_device(tier)
    aside = partial(say, err=True)
    with Archive(store, wait=aside) as archive, workshop.trial_executor(workers) as executor:
        shop = workshop_of(archive, executor, deadline=time.monotonic() + 60 * minutes)
        yield Door(Run(declared, name, tier, archive, shop, lambda _: None, beat=aside))


@contextmanager
def _desk_of(campaign: str, tier: Tier, store: Path, workers: int) -> Iterator[Desk | KernelDesk]:
    """The desk of a campaign of either kind."""
    from asiarc.campaign.kernels import KernelCampaign
    from asiarc.campaign.loading import named
    from asiarc.harness.desk import Desk

    name, declared, file = named(campaign, (project_store().parent, Path.cwd()))
    if isinstance(declared, KernelCampaign):
        with _kernel_desk(name, declared, tier, store) as desk:
            yield desk
    else:
        with _opened(name, declared.at(file.parent), tier, store, workers) as door:
            yield Desk(door)


@contextmanager
def _kernel_desk(name: str, declared: KernelCampaign, tier: Tier, store: Path) -> Iterator[KernelDesk]:
    from asiarc.archive.store import Archive
    from asiarc.harness.kernel_desk import KernelDesk
    from asiarc.loop.kernels import KernelRun

    deadline = time.monotonic() + 60 * declared.budget.at(tier).minutes
    aside = partial(say, err=True)
    with Archive(store, wait=aside) as archive:
        yield KernelDesk(KernelRun(declared, name, tier, archive, aside, deadline=deadline))


def _asked(
    verb: str,
    referee: str | None,
    here: Callable[[Desk | KernelDesk], Any],
    place: tuple[str, Tier, Path, int],
    **said: Any,
) -> Any:
    """The answer of a referee where there is one, else of this project's own desk."""
    campaign, tier, store, workers = place
    if referee:
        from asiarc.harness.wire import ask

        return ask(referee, {"verb": verb, "campaign": campaign, "tier": tier, **said})
    with _desk_of(campaign, tier, store, workers) as desk:
        return here(desk)


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@CAMPAIGN
@click.option("--parent", default="", metavar="ADDRESS", help="what it was made of (default: the parent of the brief)")
@click.option("--idea", default="", metavar="TEXT", help="why it should work (default: the file's docstring)")
@click.option("--author", default="a person", show_default=True, metavar="NAME", help="who proposes")
@REFEREE
@TIER
@STORE
@WORKERS
@AS_JSON
def propose(
    path: Path, campaign: str, parent: str, idea: str, author: str, referee: str | None, tier: Tier, store: Path,
    workers: int, as_json: bool,
) -> None:  # fmt: skip
    """Referee a candidate's file, or every file of a folder: the gates, explore, and what it gained.

    Exit status: 0 ahead of start_from, 3 not told apart from it, 4 behind, 5 rejected, 6 admitted and not trained yet;
    of several files the best one's.
    """
    from asiarc.loop.door import steady_source
    from asiarc.loop.feedback import WORDS

    sources = {str(file): steady_source(file) for file in _files(path)}
    said = {"parent": parent, "idea": idea, "author": author}
    answer = _asked(
        "propose", referee, lambda desk: desk.propose(sources, **said), (campaign, tier, store, workers), **said,
        files=[{"file": file, "source": source} for file, source in sources.items()],
    )  # fmt: skip
    heard = answer["proposals"]
    status = min(WORDS[one["word"]] for one in heard)
    if as_json:
        told(answer)
        sys.exit(status)
    for one in heard:
        for line in [*_known(one), *(lines(one) if "number" in one else ())]:
            say(line)
    left = answer["left"]
    trainings = f", {left['trainings']:.1f} full trainings of explore" if "trainings" in left else ""
    say(f"left: {left['candidates']} candidates{trainings}")
    sys.exit(status)


def _files(path: Path) -> Sequence[Path]:
    """A file, or the Python files of a folder by name."""
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    if not files:
        raise CampaignError(f"no Python file in {path}; a candidate is one file NAME.py")
    return files


def _known(answer: Mapping[str, Any]) -> Iterator[str]:
    """Who a file is already."""
    twin = answer["known_as"]
    if twin is not None:
        place = "the baseline" if twin["number"] is None else f"#{twin['number']}"
        how = "the same program as" if twin["by"] == "program" else "computes the same as"
        yield f"{answer['file']}: {how} {place} {twin['name']} ({twin['address']}); nothing was trained again"


def lines(feedback: Mapping[str, Any]) -> Iterator[str]:
    """Feedback for a person."""
    from asiarc.harness.desk import interval
    from asiarc.report import wording

    yield "#{number} {address} {name} by {author}: {word}".format(**feedback)
    if feedback["outcome"] is None:
        yield from (f"  {line}" for line in feedback["told"])
    elif feedback["told"]:
        first, *more = feedback["told"]
        gate = feedback["outcome"]["gate"] or feedback["outcome"]["kind"]
        yield f"  {gate}: {first}"
        yield from (f"  {line}" for line in more)
    if not feedback["holds"]:
        yield "  it fails a capability check that start_from passes"
    for score in feedback["scores"]:
        yield f"  over {score['over']}: {interval(score)} {score['where']}".rstrip()
    cost = [f"{wording.hours(feedback['cpu_s'])} CPU-hours"]
    if feedback["trials"]:
        cost = [wording.plural(feedback["trials"], "trial"), *cost, f"{wording.large(feedback['tokens'])} tokens"]
    yield f"  cost: {', '.join(cost)}"


@click.command()
@click.argument("campaign")
@REFEREE
@TIER
@STORE
@WORKERS
@AS_JSON
def brief(campaign: str, referee: str | None, tier: Tier, store: Path, workers: int, as_json: bool) -> None:
    """What a researcher may know before the next proposal: contract, operators, parent, relatives, failures, papers.

    The first look at a campaign trains its baselines.
    """
    answer = _asked("brief", referee, lambda desk: desk.brief(""), (campaign, tier, store, workers))
    if as_json:
        told(answer)
    else:
        click.echo(answer["brief"])


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@CAMPAIGN
@REFEREE
@TIER
@STORE
@WORKERS
@AS_JSON
def tried(
    file: Path, campaign: str, referee: str | None, tier: Tier, store: Path, workers: int, as_json: bool
) -> None:
    """Whether a file was proposed before, or computes what a baseline or an earlier candidate computes.

    Exit status: 0 where it is new, 3 where it is known. It takes nothing of the budget.
    """
    from asiarc.loop.door import steady_source

    said = {"file": str(file), "source": steady_source(file)}
    answer = _asked("tried", referee, lambda desk: desk.tried(**said), (campaign, tier, store, workers), **said)
    if as_json:
        told(answer)
    else:
        say(next(_known(answer), f"{file}: no baseline and no candidate of {campaign} is known to do the same"))
    sys.exit(KNOWN if answer["known_as"] else 0)


@click.command()
@click.argument("campaign")
@REFEREE
@TIER
@STORE
@AS_JSON
def standings(campaign: str, referee: str | None, tier: Tier, store: Path, as_json: bool) -> None:
    """The proposals of a campaign by what explore says of them, the best first: who made them, gain, interval."""
    if referee:
        from asiarc.harness.wire import ask

        found = ask(referee, {"verb": "standings", "campaign": campaign, "tier": tier})
    else:
        found = standings_of(campaign, tier, store)
    if as_json:
        told(found)
    else:
        _print(found)


def standings_of(campaign: str, tier: Tier, store: Path) -> list[Row]:
    """The latest run's, read beside whoever writes."""
    from asiarc.archive.results import CampaignResult
    from asiarc.harness.desk import ranked
    from asiarc.loop.feedback import Reader

    with latest_run(campaign, tier, store, of_kernels=True) as (archive, run):
        if is_of_kernels(archive.run(run) or {"identity": {}}):
            from asiarc.harness.kernel_desk import kernel_standings

            return kernel_standings(archive, run)
        return ranked(Reader(CampaignResult.load(archive, run)).all())


@click.command()
@click.argument("campaign")
@REFEREE
@TIER
@STORE
@WORKERS
@AS_JSON
def verdict(campaign: str, referee: str | None, tier: Tier, store: Path, workers: int, as_json: bool) -> None:
    """Close the door of a campaign: verify and confirm the best that was proposed, and say what they show.

    Exit status: 0 better than start_from, 4 worse, 3 all else. `pytest campaigns` does the same and asks its tests.
    """
    answer = _asked("verdict", referee, lambda desk: desk.verdict(), (campaign, tier, store, workers))
    if as_json:
        told(answer)
    else:
        say(answer["verdict"])
    sys.exit(DECIDED.get(answer["decision"], UNTOLD))


def _print(found: Sequence[Row]) -> None:
    from rich.table import Table

    table = Table("#", "address", "name", "by", "rung", "gain", "", box=None, padding=(0, 1, 0, 0))
    for one in found:
        gain = _short(one["scores"][0]) if one["scores"] else next(iter(one["told"]), "")
        rung = str(one["rung"] + 1) if one["rung"] >= 0 else ""
        table.add_row(str(one["number"]), one["address"], one["name"], one["author"], rung, gain, one["word"])
    console().print(table)
    looks = max((one["looks"] for one in found), default=0)
    say(f"looks so far: {looks}; each interval is widened for those before it")


def _short(score: Row) -> str:
    """A gain for a row."""
    return f"{score['gain']:+.4f}" + ("" if score["low"] is None else f" [{score['low']:+.4f}, {score['high']:+.4f}]")
