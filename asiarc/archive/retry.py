"""What failed for want of a machine, a network or a model that answers is no result: it is dropped, and done again."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from asiarc.archive.cells import load_cell

if TYPE_CHECKING:
    from asiarc.archive.store import Archive

_BROKEN = "outcome IN ('crashed', 'timed_out', 'out_of_memory', 'unscored')"
_FAILED = f"({_BROKEN} OR gate = 'reply')"
_USED = "key IN (SELECT trial FROM uses WHERE run = ?)"


def forget_failures(archive: Archive, run: str) -> str:
    """Drop a run's trials and admissions that did not come to their end, its unreadable replies, and what was
    proposed from the first generation on in which there were any; trials that ended well are kept. What was dropped, in
    words; empty where nothing failed."""
    first = archive.rows(
        "SELECT MIN(number) AS n FROM proposals WHERE run = ?1 AND generation = (SELECT MIN(p.generation) "
        f"FROM results r JOIN proposals p USING (run, number) WHERE r.run = ?1 AND {_FAILED})",
        run,
    )[0]["n"]
    trials = _keys(archive, f"SELECT key FROM trials WHERE {_BROKEN} AND {_USED}", run)
    if first is None and not trials:
        return ""
    first = first or 0
    replies = _keys(
        archive,
        "SELECT a.key FROM asked a JOIN results r ON r.run = a.run AND a.place LIKE r.number || ' %' "
        "WHERE a.run = ? AND r.gate = 'reply'",
        run,
    )
    candidates = _keys(
        archive, f"SELECT number AS key FROM results WHERE run = ? AND number >= ? AND {_FAILED}", run, first
    )
    proposals = _keys(archive, "SELECT number AS key FROM proposals WHERE run = ? AND number >= ?", run, first)
    with archive.transaction():
        for key in replies:
            archive.drop("asked", "key = ?", key)
            archive.drop("exchanges", "key = ?", key)
        _drop_trials(archive, trials)
        archive.drop("admissions", f"{_BROKEN} AND address IN (SELECT address FROM proposals WHERE run = ?)", run)
        for table in ("results", "insights", "versions", "decisions", "judgements", "proposals"):
            archive.drop(table, "run = ? AND number >= ?", run, first)
        for table in ("stages", "uses"):  # what is kept is used again where it is asked for again
            archive.drop(table, "run = ?", run)
    told = f"{len(replies)} replies, {len(trials)} trials, {len(candidates)} candidates that failed"
    return f"retry: dropped {told}, and the {len(proposals)} proposals from number {first} on"


def forget_failures_of_study(archive: Archive, run: str, addresses: Collection[str], stage: str) -> str:
    """The same of a study: its mixers are named by `addresses`, and `stage` is what a finished one is kept under."""
    trials = _keys(archive, f"SELECT key FROM trials WHERE {_BROKEN} AND {_USED}", run)
    marks = ", ".join("?" * len(addresses))
    admissions = _keys(archive, f"SELECT key FROM admissions WHERE {_BROKEN} AND address IN ({marks})", *addresses)
    others = archive.rows("SELECT stage, result FROM stages WHERE run = ? AND stage != ?", run, stage)
    probes = [row["stage"] for row in others if "failed" in (load_cell(row["result"]) or {})]
    if not (trials or admissions or probes):
        return ""
    with archive.transaction():
        _drop_trials(archive, trials)
        for key in admissions:
            archive.drop("admissions", "key = ?", key)
        for name in (*probes, stage):
            archive.drop("stages", "run = ? AND stage = ?", run, name)
        archive.drop("uses", "run = ?", run)  # what is kept is used again where it is asked for again
    told = f"{len(trials)} trials, {len(admissions)} admissions, {len(probes)} probes that failed"
    return f"retry: dropped {told}"


def _drop_trials(archive: Archive, keys: Collection[object]) -> None:
    for key in keys:
        archive.drop("uses", "trial = ?", key)
        archive.drop("trials", "key = ?", key)


def _keys(archive: Archive, query: str, *values: object) -> list[object]:
    return [row["key"] for row in archive.rows(query, *values)]
