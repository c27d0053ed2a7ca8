"""Recordings: a campaign asked once, kept beside its file, and replayed by anybody, without a key or a network.

Beside ``campaign_x.py`` lie ``campaign_x.jsonl`` (every exchange, proposal by proposal) and
``campaign_x.json`` (the facts of the run). A replay runs the campaign in a store of its own, trains what was trained,
and compares both. Prompts hold what was measured before them, so equal exchanges mean equal results to the digits that
are shown; the facts hold every digit.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asiarc.campaign.loading import declared
from asiarc.core.errors import CampaignError, EvidenceError
from asiarc.llm.client import Mode
from asiarc.llm.tape import cassette_lines
from asiarc.loop.connect import connect
from asiarc.report.exchanges import facts

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.core.recipe import Tier
    from asiarc.loop.run import Run


Say = Callable[[str], None]


ROUNDING = 1e-3  # of a measured number, bits a byte or accuracy: what a processor rounds, training enlarges


@dataclass(frozen=True)
class Replayed:
    """What a replay came to: where it differs from the recording, and by how much a measured number does at most."""

    facts: dict[str, Any]
    differences: tuple[str, ...]
    drift: float

    @property
    def is_identical(self) -> bool:
        """To the last bit."""
        return not self.differences and self.drift == 0

    @property
    def is_same(self) -> bool:
        """But for what another processor rounds otherwise in the measured numbers."""
        return not self.differences and self.drift <= ROUNDING


def record(file: Path, store: Path, tier: Tier, *, base_url: str | None, workers: int, say: Say) -> dict[str, Any]:
    """Ask what `store` does not hold yet, and write the recording beside the file; returns its facts.

    What stops it (a cap, an endpoint) raises an `AsiarcError`; the next call goes on from there.
    """
    from asiarc.archive.store import Archive

    with Archive(store) as archive:
        run = conduct(file, archive, "record", tier, base_url=base_url, workers=workers, say=say).run
        cassette, found = exchanges(archive, run), facts(archive, run)
    cassette_of(file).write_text(cassette, encoding="utf-8")
    facts_of(file).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def replay(file: Path, tier: Tier, *, workers: int, say: Say) -> Replayed:
    """Run a recorded campaign in an empty store, from its recording alone; `ReplayMissError` at a new question."""
    from asiarc.archive.store import Archive

    for needed in (cassette_of(file), facts_of(file)):
        if not needed.exists():
            raise EvidenceError(
                f"{file} has no recording: {needed} is missing; make one with: asiarc llm record {file}"
            )
    with tempfile.TemporaryDirectory(prefix="asiarc-replay-") as folder, Archive(Path(folder)) as archive:
        run = conduct(file, archive, "replay", tier, base_url=None, workers=workers, say=say).run
        cassette, found = exchanges(archive, run), facts(archive, run)
    recorded: dict[str, Any] = json.loads(facts_of(file).read_text(encoding="utf-8"))
    differences = _differing_lines(cassette_of(file).read_text(encoding="utf-8"), cassette)
    found = json.loads(json.dumps(found))
    differences += [
        f"{key}: {recorded.get(key)} -> {found[key]}" for key in found if _shape(found, key) != _shape(recorded, key)
    ]
    return Replayed(found, tuple(differences), _drift(recorded, found))


def cassette_of(file: Path) -> Path:
    """Where a campaign's exchanges are kept."""
    return file.with_suffix(".jsonl")


def facts_of(file: Path) -> Path:
    """Where the facts of the recorded run are kept."""
    return file.with_suffix(".json")


def conduct(
    file: Path, archive: Archive, mode: Mode, tier: Tier, *, base_url: str | None, workers: int, say: Say
) -> Run:
    """Run all stages of a file's campaign over an archive; a search that scored nothing is a result, too."""
    from asiarc.engineer.workshop import Workshop, trial_executor
    from asiarc.loop.run import Run

    name, campaign = declared(file)
    if campaign.models is None:
        raise CampaignError(f"{file} names no language model, so there is nothing to record")
    campaign = campaign.at(file.parent)
    deadline = time.monotonic() + 60 * campaign.budget.at(tier).minutes
    with trial_executor(workers) as executor:
        workshop = Workshop(archive, executor, deadline=deadline)
        reached = partial(connect, mode, base_url, cassette_of(file), say)
        run = Run(campaign, name, tier, archive, workshop, say, connect=reached)
        for stage in campaign.stages:
            run.ensure(stage)
    return run


def exchanges(archive: Archive, run: str) -> str:
    """A run's exchanges as the lines of a cassette, ordered by what they were for: replies come in any order."""
    from asiarc.archive.annex import Annex

    rows = sorted(Annex(archive).tape(run), key=_order)
    return cassette_lines(rows)


def _order(row: tuple[str, dict[str, Any]]) -> tuple[int, str, int, int, str]:
    """Proposal by proposal, and turn by turn."""
    place, exchange = row
    number, question = place.split()[0], exchange["question"]
    turn = len(question["messages"]), question["attempt"]
    return int(number) if number.isdecimal() else -1, place, *turn, exchange["key"]


def _differing_lines(recorded: str, replayed: str) -> list[str]:
    """The first exchange that differs, and the counts where they do."""
    old, new = recorded.splitlines(), replayed.splitlines()
    differing = [number for number, (a, b) in enumerate(zip(old, new, strict=False), 1) if a != b]
    found = [f"exchange {differing[0]} differs ({len(differing)} in all)"] if differing else []
    return found + ([f"{len(old)} exchanges recorded, {len(new)} replayed"] if len(old) != len(new) else [])


def _shape(found: dict[str, Any], key: str) -> object:
    """A fact without its measured numbers, which `_drift` compares."""
    if key == "measured":
        return [row[:-1] for row in found.get(key, [])]
    if key == "candidates":
        return [{**row, "gain": row["gain"] is None} for row in found.get(key, [])]
    return found.get(key)


def _drift(recorded: dict[str, Any], replayed: dict[str, Any]) -> float:
    """The largest difference of a measured number."""

    def numbers(found: dict[str, Any]) -> list[float]:
        gains = [row["gain"] for row in found.get("candidates", []) if row["gain"] is not None]
        return gains + [row[-1] for row in found.get("measured", [])]

    return max((abs(a - b) for a, b in zip(numbers(recorded), numbers(replayed), strict=False)), default=0.0)
