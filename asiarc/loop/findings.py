"""What the analyst is given to write about: each scored candidate with its parent, its siblings and the population."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asiarc.analyst.compare import Observation, analyse, mechanism_effects, tags_of
from asiarc.analyst.explaining import Experiment
from asiarc.archive.store import Archive

NOISE = 0.02  # bits a byte or accuracy: differences under it are within the seed noise of a short trial
POPULATION = 2000  # the latest scored candidates that the effects of mechanisms are read from


def findings(archive: Archive, run: str, numbers: Sequence[int], *, start: str, start_from: str) -> list[Experiment]:
    """A finding for each of a generation's scored proposals that has no insight yet, by the numbers of that moment.

    `start` is the address of start_from, which stands for a parent that has no numbers.
    """
    if not numbers:
        return []
    rows = archive.population(run, max(numbers), POPULATION)  # a resumed run holds later ones
    seen = {row["number"]: _observe(row) for row in rows}
    origin = archive.candidate(start) or {}
    root = Observation(start, start_from, tags_of(origin.get("genome")), 0.0, {})
    by_address = {observation.address: observation for observation in seen.values()}
    effects = mechanism_effects(list(seen.values()))
    proposals = {number: _proposal(archive, run, number) for number in numbers}
    found = []
    for number, row in proposals.items():
        if archive.insights(run, number):
            continue
        family = row["parents"][:1]
        parent = _parent(archive, run, family, by_address) or root
        siblings = [seen[n] for n, other in proposals.items() if n != number and other["parents"][:1] == family]
        insight = analyse(seen[number], parent, siblings, effects, start_name=start_from, noise=NOISE)
        found.append(Experiment(number, seen[number], parent, tuple(siblings), row, insight))
    return found


def _proposal(archive: Archive, run: str, number: int) -> dict[str, Any]:
    row = archive.proposal(run, number)
    assert row is not None, number
    return row


def _parent(
    archive: Archive, run: str, family: Sequence[str], by_address: dict[str, Observation]
) -> Observation | None:
    """The scored parent, also where it is older than the population that was read."""
    if not family or family[0] in by_address:
        return by_address.get(family[0]) if family else None
    row = archive.scored(run, family[0])
    return _observe(row) if row else None


def _observe(row: dict[str, Any]) -> Observation:
    gains = {task: score["gain"] for task, score in row["scores"].items() if score["gain"] is not None}
    return Observation(row["address"], row["name"], tags_of(row["genome"]), row["gain"], gains)
