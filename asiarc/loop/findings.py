"""What the analyst is given to write about: each scored candidate with its parent, its siblings and the population."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asiarc.analyst.compare import Observation, analyse, mechanism_effects, tags_of
from asiarc.analyst.explaining import Experiment
from asiarc.analyst.sources import parts_of
from asiarc.archive.gains import Gains, gains_of
from asiarc.archive.store import Archive
from asiarc.loop.trials import genome_of
from asiarc.tasks import get_task

POPULATION = 2000  # the latest scored candidates that the effects of mechanisms are read from
FULL = 0.995  # accuracy from which nothing is left to gain


def findings(
    archive: Archive, run: str, numbers: Sequence[int], *, start: str, start_from: str, deciding: Sequence[str]
) -> list[Experiment]:
    """A finding for each of a generation's scored proposals that has no insight yet, by the numbers of that moment.

    `start` is the address of start_from, which stands for a parent that has no numbers; gains are means over the
    tasks that are `deciding`.
    """
    if not numbers:
        return []
    proposals = {number: _proposal(archive, run, number) for number in numbers}
    rows = archive.population(run, max(numbers), POPULATION)  # a resumed run holds later ones
    known = {row["address"] for row in rows}
    firsts = {parent for row in proposals.values() for parent in row["parents"][:1]} - known
    older = [row for parent in sorted(firsts) if (row := archive.scored(run, parent))]
    gains = gains_of(archive, run, [row["address"] for row in (*rows, *older)], deciding)
    origin = {"address": start, "name": start_from, "genome": genome_of(start_from), "scores": {}}
    root, *others = observed(archive, [origin, *older, *rows], gains, start)
    seen = {one.address: one for one in others}
    population = [seen[row["address"]] for row in rows]
    effects = mechanism_effects(population, gains.side_by_side(known))
    found = []
    for number, row in proposals.items():
        if archive.insights(run, number):
            continue
        child, family = seen[row["address"]], row["parents"][:1]
        parent = seen.get(family[0], root) if family else root
        siblings = [
            seen[other["address"]] for n, other in proposals.items() if n != number and other["parents"][:1] == family
        ]
        insight = analyse(child, parent, siblings, effects, gains, start=root)
        found.append(Experiment(number, child, parent, tuple(siblings), row, insight, gains))
    return found


def _proposal(archive: Archive, run: str, number: int) -> dict[str, Any]:
    row = archive.proposal(run, number)
    assert row is not None, number
    return row


def observed(archive: Archive, rows: Sequence[Mapping[str, Any]], gains: Gains, start: str) -> list[Observation]:
    """Scored candidates as the analyst sees them, all in the grammar's words, or all by what their sources call."""
    in_grammar = all(row["genome"] for row in rows)
    made = [(tags_of(row["genome"]), "") if in_grammar else _read(archive, row["address"]) for row in rows]
    return [
        Observation(
            row["address"], row["name"], tags, gains.by_task(row["address"], start), _saturated(row["scores"]), idea
        )
        for row, (tags, idea) in zip(rows, made, strict=True)
    ]


def _read(archive: Archive, address: str) -> tuple[frozenset[str], str]:
    """What a candidate's source calls, and its idea."""
    row = archive.candidate(address)
    assert row is not None, address
    return parts_of(row["source"]), row["motivation"]


def _saturated(scores: Mapping[str, Any]) -> frozenset[str]:
    """The tasks on which nothing is left to gain."""
    return frozenset(
        task for task, score in scores.items() if get_task(task).higher_is_better and score["mean"] >= FULL
    )
