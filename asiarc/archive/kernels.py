"""What was proposed to be the kernel of an operator; a table that an archive has from the first such proposal on."""

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


class KernelProposals:
    """An archive's kernel proposals: who proposed what, `against` which code of ours, the word and what was told."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._is_there = bool(archive.rows("SELECT 1 FROM sqlite_master WHERE name = 'kernel_proposals'"))

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
