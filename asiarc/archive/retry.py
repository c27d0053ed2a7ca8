"""What failed for want of a machine, a network or a model that answers is no result: it is dropped, and done again."""

from __future__ import annotations

from asiarc.archive.store import Archive

_BROKEN = "outcome IN ('crashed', 'timed_out', 'out_of_memory', 'unscored')"
_FAILED = f"({_BROKEN} OR gate = 'reply')"
_USED = "key IN (SELECT trial FROM uses WHERE run = ?)"


def forget_failures(archive: Archive, run: str) -> str:
    """Drop a run's trials and admissions that did not come to their end, its unreadable replies, and what was
    proposed from the first generation on in which there were any; trials that ended well are kept. What was dropped, in
    words; empty where nothing failed."""
    count = lambda sql, *values: int(archive.rows(f"SELECT COUNT(*) AS n {sql}", *values)[0]["n"])  # noqa: E731
    first = archive.rows(
        "SELECT MIN(number) AS n FROM proposals WHERE run = ?1 AND generation = (SELECT MIN(p.generation) "
        f"FROM results r JOIN proposals p USING (run, number) WHERE r.run = ?1 AND {_FAILED})",
        run,
    )[0]["n"]
    trials = count(f"FROM trials WHERE {_BROKEN} AND {_USED}", run)
    if first is None and not trials:
        return ""
    first = 0 if first is None else first
    failed = f"FROM results WHERE run = ? AND number >= ? AND {_FAILED}"
    replies = (
        "SELECT a.key FROM asked a JOIN results r ON r.run = a.run AND a.place LIKE r.number || ' %' "
        "WHERE a.run = ? AND r.gate = 'reply'"
    )
    candidates = count(failed, run, first)
    told = f"{count(f'FROM ({replies})', run)} replies, {trials} trials, {candidates} candidates that failed"
    proposals = count("FROM proposals WHERE run = ? AND number >= ?", run, first)
    with archive.transaction():
        keys = [row["key"] for row in archive.rows(replies, run)]
        for key in keys:
            archive.drop("asked", "key = ?", key)
            archive.drop("exchanges", "key = ?", key)
        broken = [row["key"] for row in archive.rows(f"SELECT key FROM trials WHERE {_BROKEN} AND {_USED}", run)]
        for key in broken:
            archive.drop("uses", "trial = ?", key)
            archive.drop("trials", "key = ?", key)
        archive.drop("admissions", f"{_BROKEN} AND address IN (SELECT address FROM proposals WHERE run = ?)", run)
        for table in ("results", "insights", "versions", "decisions", "judgements", "proposals"):
            archive.drop(table, "run = ? AND number >= ?", run, first)
        for table in ("stages", "uses"):  # what is kept is used again where it is asked for again
            archive.drop(table, "run = ?", run)
    return f"retry: dropped {told}, and the {proposals} proposals from number {first} on"
