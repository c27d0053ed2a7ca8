"""The ledger of looks: every answer that shows what explore measured to whoever proposes, in order.

A table of its own that is made when it is first written; an archive without it has had no look. What is told is told
once: a look at what was shown before is kept, too, and shows the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asiarc.archive.cells import load_cell
from asiarc.archive.store import Archive, _now

Row = dict[str, Any]
Seen = tuple[str, str]  # address, and at which rung on which seeds
_TABLE = """CREATE TABLE IF NOT EXISTS looks (
    run TEXT NOT NULL REFERENCES runs, look INTEGER NOT NULL, verb TEXT NOT NULL, author TEXT NOT NULL,
    fresh TEXT NOT NULL, again TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (run, look)
) STRICT"""


class Looks:
    """The ledger of one run."""

    def __init__(self, archive: Archive, run: str) -> None:
        self.archive, self.run = archive, run

    def add(self, verb: str, author: str, fresh: Sequence[Row], again: Sequence[str]) -> None:
        """Keep an answer: what it showed that nobody was shown (`address`, `where` and what was told), and the
        addresses of what was shown again."""
        self.archive._execute(_TABLE)
        row = dict(run=self.run, look=len(self.rows()), verb=verb, author=author, fresh=[*fresh], again=[*again])
        self.archive._insert("looks", row | {"created_at": _now()})

    def rows(self) -> list[Row]:
        """All answers in order: look, verb, author, fresh, again, created_at."""
        if not self.archive.rows("SELECT 1 FROM sqlite_master WHERE name = 'looks'"):
            return []
        found = self.archive.rows("SELECT * FROM looks WHERE run = ? ORDER BY look", self.run)
        return [row | {name: load_cell(row[name]) for name in ("fresh", "again")} for row in found]

    def fresh(self) -> dict[Seen, Row]:
        """What was shown for the first time, in order."""
        return {(one["address"], one["where"]): one for row in self.rows() for one in row["fresh"]}
