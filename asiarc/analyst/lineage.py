"""Where a candidate comes from and what came of it: parents to the start, children, and what changed at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asiarc.analyst.compare import Tag, tags_of
from asiarc.archive.gains import Gains, gains_of
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.core.outcome import Outcome

CHILDREN = 200  # that are listed
POPULATION = 2000  # the leading candidates that the luck of seeds is read from


@dataclass(frozen=True)
class Ancestor:
    """One proposal of a line: how it ended, its gain over start_from, and against its first parent the gain (`step`)
    and the choices that it added and took away. The start has no number and no gain; `author` brought it from outside.

    Each gain is at the deepest rung that both stand on, named in `standing` and `against_parent`.
    """

    address: str
    name: str
    number: int | None
    outcome: str
    gain: float | None
    step: float | None
    standing: str
    against_parent: str
    added: tuple[Tag, ...]
    removed: tuple[Tag, ...]
    motivation: str
    other_parents: tuple[str, ...]
    author: str = ""


def line_to(archive: Archive, run: str, address: str) -> list[Ancestor]:
    """From the start to a candidate of a run, by first parents; the candidate alone where it is a start itself."""
    rows = [_proposal(archive, run, address)]
    while (row := rows[-1]) is not None and row["parents"]:
        parent = _proposal(archive, run, row["parents"][0])
        if parent is None or parent["number"] >= row["number"]:
            break
        rows.append(parent)
    known = [row for row in rows[::-1] if row is not None]
    root = known[0]["parents"][0] if known and known[0]["parents"] else None if known else address
    start = [_start(archive, root)] if root else []
    return [*start, *_ancestors(archive, run, known)]


def children_of(archive: Archive, run: str, address: str) -> list[Ancestor]:
    """The proposals whose first parent is a candidate, in order, scored or not."""
    found = archive.rows(
        "SELECT number FROM proposals WHERE run = ? AND json_extract(parents, '$[0]') = ? ORDER BY number LIMIT ?",
        run, address, CHILDREN,
    )  # fmt: skip
    rows = [archive.proposal(run, row["number"]) for row in found]
    return _ancestors(archive, run, [row for row in rows if row is not None])


def is_in(archive: Archive, run: str, address: str) -> bool:
    """Whether a candidate was proposed in a run, or is the parent of one that was."""
    return archive.is_proposed(run, address) or bool(children_of(archive, run, address))


def _proposal(archive: Archive, run: str, address: str) -> dict[str, Any] | None:
    found = archive.rows(
        "SELECT number FROM proposals WHERE run = ? AND address = ? ORDER BY number LIMIT 1", run, address
    )
    return archive.proposal(run, found[0]["number"]) if found else None


def _start(archive: Archive, address: str) -> Ancestor:
    row = archive.candidate(address) or {"name": "not in this archive", "motivation": ""}
    return Ancestor(address, row["name"], None, "start", None, None, "", "", (), (), row["motivation"], ())


def _ancestors(archive: Archive, run: str, rows: Sequence[dict[str, Any]]) -> list[Ancestor]:
    result = CampaignResult.load(archive, run)
    start = result.declared[result.spec["start_from"]]
    known = {address for row in rows for address in (row["address"], *row["parents"][:1])}
    population = [row["address"] for row in archive.leading(run, POPULATION)]
    gains = gains_of(archive, run, known.union(population), result.ranking_tasks("explore"))
    return [_ancestor(archive, run, row, gains, start) for row in rows]


def _ancestor(archive: Archive, run: str, row: dict[str, Any], gains: Gains, start: str) -> Ancestor:
    address, parents = row["address"], row["parents"]
    mine, parent = tags_of(row["genome"]), _tags(archive, parents)
    gain = gains.over(address, start)
    step = gains.over(address, parents[0]) if parents else None
    return Ancestor(
        address=address,
        name=row["name"],
        number=row["number"],
        outcome=_ending(archive, run, row["number"]),
        gain=gain.mean if gain else None,
        step=step.mean if step else None,
        standing=f"{gain.size} {gain.where}" if gain else "",
        against_parent=step.than("its parent") if step else "",
        added=tuple(sorted(mine - parent)) if mine and parent else (),
        removed=tuple(sorted(parent - mine)) if mine and parent else (),
        motivation=row["motivation"],
        other_parents=tuple(parents[1:]),
        author=row.get("author", ""),
    )


def _tags(archive: Archive, parents: Sequence[str]) -> frozenset[Tag]:
    row = archive.candidate(parents[0]) if parents else None
    return tags_of(row["genome"]) if row else frozenset()


def _ending(archive: Archive, run: str, number: int) -> str:
    found = archive.rows("SELECT outcome, gate, reason FROM results WHERE run = ? AND number = ?", run, number)
    return str(Outcome(found[0]["outcome"], found[0]["reason"], found[0]["gate"])) if found else "not finished"


def changes(one: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, tuple[Any, Any]]:
    """The choices in which two genomes differ; empty where either has none."""
    if not one or not other:
        return {}
    return {
        name: (one.get(name), other.get(name)) for name in sorted({*one, *other}) if one.get(name) != other.get(name)
    }
