"""What was proposed to be the kernel of an operator, and the times that campaigns of kernels took; tables that an
archive has from the first such row on."""

from __future__ import annotations

from typing import Any

from asiarc.archive.cells import load_cell
from asiarc.archive.store import Archive

Row = dict[str, Any]
_TABLE = """
    CREATE TABLE IF NOT EXISTS kernel_proposals (
        operator TEXT NOT NULL, number INTEGER NOT NULL, address TEXT NOT NULL, against TEXT NOT NULL,
        name TEXT NOT NULL, author TEXT NOT NULL, idea TEXT NOT NULL, source TEXT NOT NULL, word TEXT NOT NULL,
        told TEXT NOT NULL, PRIMARY KEY (operator, number)
    )
"""
TIMINGS = "kernel_timings"
_TIMINGS = """
    CREATE TABLE IF NOT EXISTS kernel_timings (
        run TEXT NOT NULL, stage TEXT NOT NULL, address TEXT NOT NULL, number INTEGER NOT NULL,
        outcome TEXT NOT NULL, gate TEXT NOT NULL, reason TEXT NOT NULL, log_ratio REAL, low REAL, high REAL,
        pairs INTEGER NOT NULL, wall_s REAL NOT NULL, PRIMARY KEY (run, stage, address, number)
    )
"""


class KernelProposals:
    """An archive's kernel proposals: who proposed what, `against` which code of ours, the word and what was told."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._is_there = has(archive, "kernel_proposals")

    def of(self, operator: str) -> list[Row]:
        """Those of an operator in order."""
        sql = "SELECT * FROM kernel_proposals WHERE operator = ? ORDER BY number"
        found = self.archive.rows(sql, operator) if self._is_there else []
        return [row | {"told": load_cell(row["told"])} for row in found]

    def put(self, row: Row) -> None:
        """Keep one; what had its number is replaced."""
        self.archive._execute(_TABLE)
        self._is_there = True
        self.archive._insert("kernel_proposals", row, replace=True)


class KernelTimings:
    """A run's timings: the logarithm of a kernel's time over the shipped one's, with the bounds of its own slices, or
    why there is none."""

    def __init__(self, archive: Archive, run: str) -> None:
        self.archive, self.run = archive, run
        self._is_there = has(archive, "kernel_timings")

    def of(self, stage: str, address: str) -> list[Row]:
        """Those of a kernel in a stage in order."""
        sql = "SELECT * FROM kernel_timings WHERE run = ? AND stage = ? AND address = ? ORDER BY number"
        return self.archive.rows(sql, self.run, stage, address) if self._is_there else []

    def addresses(self, stage: str) -> list[str]:
        """Those that a stage has timed, in the order in which they came."""
        sql = "SELECT address FROM kernel_timings WHERE run = ? AND stage = ? GROUP BY address ORDER BY MIN(rowid)"
        return [row["address"] for row in self.archive.rows(sql, self.run, stage)] if self._is_there else []

    def begun(self) -> set[str]:
        """The stages that have any."""
        sql = "SELECT DISTINCT stage FROM kernel_timings WHERE run = ?"
        return {row["stage"] for row in self.archive.rows(sql, self.run)} if self._is_there else set()

    def put(self, stage: str, address: str, number: int, row: Row) -> None:
        """Keep one; what had its number, which the machine could not take, is replaced."""
        lay(self.archive)
        self._is_there = True
        place = {"run": self.run, "stage": stage, "address": address, "number": number}
        self.archive._insert("kernel_timings", place | row, replace=True)


def lay(archive: Archive) -> None:
    """Give an archive the table of timings, where it has none."""
    archive._execute(_TIMINGS)


def has(archive: Archive, table: str) -> bool:
    """Whether an archive has a table."""
    return bool(archive.rows("SELECT 1 FROM sqlite_master WHERE name = ?", table))
