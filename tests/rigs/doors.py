"""``python -m tests.rigs doors``: the same proposals by four ways in, refereed alike to the last digit.

A model behind HTTP, one behind a folder, a person's files and an agent's client of MCP bring the same sources, each to
an archive of its own, at a tiny size and for real: the trials and the verdict have to be the same. The sources are the
grammar's, drawn with a fixed seed; ``--write`` keeps them as files, for whoever proposes them by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import click

if TYPE_CHECKING:
    from asiarc import Campaign
    from asiarc.core.recipe import Tier
    from asiarc.llm.endpoint import Endpoint
    from asiarc.llm.folder import Folder

    Way = Callable[[Path, Campaign, Sequence[str], Callable[[], AbstractContextManager[Any]], Tier], None]

NAME = "question"


def drawn(size: int) -> list[str]:
    """The sources of so many of the grammar's candidates, the same on every call."""
    from tests.rigs.policies.record import population

    return [one.source for one in population(size)[1:]]


def small(candidates: int) -> Campaign:
    """An open campaign at a size that costs seconds."""
    from asiarc import Budget, Campaign, Recipe, Stage, by_tier

    return Campaign(
        start_from="delta_net", baselines=("delta_net",), controls=(), researcher="open", match=(),
        recipe=Recipe(d_model=32, num_heads=2, seq_len=32, batch_size=4, steps=8),
        explore=Stage(tasks=("text",), seeds=2), verify=Stage(tasks=("text",), seeds=2, top=2),
        confirm=Stage(tasks=("text",), seeds=2), budget=by_tier(smoke=Budget(candidates=candidates, minutes=60)),
    )  # fmt: skip


# --- four ways in -----------------------------------------------------------------------------------------------------


def by_model(folder: Path, asked: Campaign, make: Any, tier: Tier, endpoint: Endpoint | Folder) -> None:
    """A language model's, whatever it is asked by."""
    from asiarc import Models
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop
    from asiarc.llm.client import Client
    from asiarc.llm.tape import ArchiveTape
    from asiarc.loop.run import Run

    models = Models(researcher=("model",), prices={"model": (0, 0)}, structured=False, revisions=0)
    asked = asked.model_copy(update={"researcher": "llm", "models": models})

    def connect(annex: Any, run: str, ledger: Any, _: Any) -> Client:
        return Client(ArchiveTape(annex, run), ledger, "record", endpoint, repairs=0, say=lambda _: None)

    with Archive(folder) as archive, make() as executor:
        run = Run(asked, NAME, tier, archive, Workshop(archive, executor), lambda _: None, connect=connect)
        for stage in asked.stages:
            run.ensure(stage)


def by_server(folder: Path, asked: Campaign, sources: Sequence[str], make: Any, tier: Tier) -> None:
    """By an OpenAI-compatible API."""
    from asiarc.llm.endpoint import Endpoint
    from tests.rigs.llm.loopback import Server, says

    said = iter(sources)
    with Server((lambda handler: says(next(said))(handler),)) as server:
        by_model(folder, asked, make, tier, Endpoint(server.url, "a-key", sleep=lambda _: None))


def by_folder(folder: Path, asked: Campaign, sources: Sequence[str], make: Any, tier: Tier) -> None:
    """The model answers when the campaign waits for it: the reply is moved under its name when it is whole."""
    from asiarc.llm.folder import Folder

    place, numbers = folder / "asked", count(1)

    def reply(_: float) -> bool:
        number = next(numbers)
        assert (place / f"{number:04}.question.md").read_text().startswith(f"<!-- question {number} to the researcher")
        (place / "draft").write_text(sources[number - 1])
        (place / "draft").rename(place / f"{number:04}.reply.md")
        return False

    by_model(folder, asked, make, tier, Folder(place, settle_s=0, pause=reply))


def by_files(folder: Path, asked: Campaign, sources: Sequence[str], make: Any, tier: Tier) -> None:
    """By the shell's door, each in a process's time of its own."""
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop
    from asiarc.loop.door import Door
    from asiarc.loop.run import Run

    with make() as executor:
        for source in sources:
            with Archive(folder) as archive:
                door = Door(Run(asked, NAME, tier, archive, Workshop(archive, executor), lambda _: None))
                door.propose(source, door.walk(), author="an agent")
                door.walk()
        with Archive(folder) as archive:
            run = Run(asked, NAME, tier, archive, Workshop(archive, executor), lambda _: None)
            for stage in asked.stages:
                run.ensure(stage)


def by_mcp(folder: Path, asked: Campaign, sources: Sequence[str], make: Any, tier: Tier) -> None:
    """By the official SDK's client; its last tool asks for the verdict."""
    import anyio
    from mcp import Client

    import asiarc.engineer.workshop
    from asiarc.campaign.declaration import to_toml
    from asiarc.harness.mcp_door import server

    folder.mkdir(parents=True)
    file = folder / f"campaign_{NAME}.toml"
    file.write_text(to_toml(asked))

    async def proposing() -> None:
        async with Client(server(tier, folder, 1)) as client:
            for source in sources:
                found = await client.call_tool("propose", {"campaign": str(file), "source": source})
                assert not found.is_error, found
            found = await client.call_tool("verdict", {"campaign": str(file)})
            assert not found.is_error, found

    with mock.patch.object(asiarc.engineer.workshop, "trial_executor", lambda _: make()):
        anyio.run(proposing)


WAYS: tuple[Way, ...] = (by_server, by_folder, by_files, by_mcp)


# --- what came of it --------------------------------------------------------------------------------------------------


def trials_of(folder: Path) -> list[tuple[Any, ...]]:
    """Every trial with its value, by what it is."""
    from asiarc.archive.store import Archive

    with Archive(folder, write=False) as archive:
        trials = archive.trials(archive.runs(NAME)[-1]["run"])
        return sorted((t.stage, t.address, t.task, t.seed, t.steps, str(t.outcome), t.value) for t in trials)


def verdict_of(folder: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """What each stage handed over, how each proposal ended, and what it was made of."""
    from asiarc.archive.store import Archive

    with Archive(folder, write=False) as archive:
        run = archive.runs(NAME)[-1]["run"]
        endings = [(r["number"], r["address"], str(r["outcome"]), r["rung"], r["gain"]) for r in archive.results(run)]
        parents = [row["parents"] for row in archive.proposals(run)]
        return [archive.stage_result(run, stage) for stage in ("explore", "verify", "confirm")], endings, parents


def ask_all(
    place: Path, asked: Campaign, sources: Sequence[str], make: Callable[[], AbstractContextManager[Any]], tier: Tier
) -> dict[str, tuple[list[Any], Any]]:
    """Trials and verdict by way. All ask the policy after each proposal, as an open campaign does."""
    import asiarc.search.campaign

    one_by_one = [range(n, n + 1) for n in range(len(sources))]
    found = {}
    with mock.patch.object(asiarc.search.campaign, "generations", lambda *_, **__: one_by_one):
        for way in WAYS:
            folder = place / way.__name__
            way(folder, asked, sources, make, tier)
            found[way.__name__] = trials_of(folder), verdict_of(folder)
    return found


@click.command()
@click.option("--candidates", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--store", type=click.Path(path_type=Path), required=True, help="folder of the four archives, a new one")
@click.option("--write", type=click.Path(path_type=Path), help="write the sources into this folder, and run nothing")
def main(candidates: int, workers: int, store: Path, write: Path | None) -> None:
    """The same proposals by API, by folder, by files and by MCP: the same trials, the same verdict?"""
    sources = drawn(candidates)
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        for number, source in enumerate(sources):
            (write / f"{number:02}.py").write_text(source)
        click.echo(f"{candidates} sources in {write}")
        return
    from asiarc.engineer.workshop import trial_executor

    found = ask_all(store, small(candidates), sources, lambda: trial_executor(workers), "smoke")
    (trials, verdict), *_ = found.values()
    for name, (others, other) in found.items():
        same = "the same" if (others, other) == (trials, verdict) else "OTHERS"
        click.echo(f"{name:10s} {len(others):4d} trials, winner {other[0][1]['winner']}: {same}")
    if any(one != (trials, verdict) for one in found.values()):
        raise click.exceptions.Exit(1)
