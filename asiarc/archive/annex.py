"""The annex: what only campaigns with a language model, or with checks of behaviour, keep in the archive.

An exchange is kept once, under the hash of its question, whichever runs rest on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from asiarc.archive.cells import load_cell
from asiarc.archive.store import Archive
from asiarc.core.outcome import Outcome

Row = dict[str, Any]


class Annex:
    """An archive's annex; in an archive of an earlier format, which can only be read, it is empty."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._is_there = bool(archive.rows("SELECT 1 FROM sqlite_master WHERE name = 'exchanges'"))

    def _rows(self, sql: str, *parameters: Any) -> list[Row]:
        return self.archive.rows(sql, *parameters) if self._is_there else []

    def _put(self, table: str, row: Row, *, replace: bool = False) -> None:
        self.archive._insert(table, row, replace=replace)

    # --- exchanges ------------------------------------------------------------------------------------------------

    def add_exchange(self, run: str, place: str, exchange: Row) -> None:
        """Keep an exchange, and that a run rests on it."""
        question, reply = exchange["question"], exchange["reply"]
        row = {
            "key": exchange["key"],
            "role": question["role"],
            "model": question["model"],
            "fault": reply["fault"],
            "prompt_tokens": reply["prompt_tokens"],
            "completion_tokens": reply["completion_tokens"],
            "exchange": exchange,
        }
        with self.archive.transaction():
            self._put("exchanges", row, replace=True)
            self._put("asked", {"run": run, "place": place, "key": exchange["key"]})

    def exchange(self, key: str) -> Row | None:
        """An exchange by the hash of its question, or None."""
        found = self._rows("SELECT exchange FROM exchanges WHERE key = ?", key)
        return load_cell(found[0]["exchange"]) if found else None

    def exchanges(self, role: str | None = None) -> Iterator[Row]:
        """All exchanges, or those of a role."""
        sql = "SELECT exchange FROM exchanges WHERE ?1 IS NULL OR role = ?1 ORDER BY rowid"
        return (load_cell(row["exchange"]) for row in self._rows(sql, role))

    def asked(self, run: str) -> list[Row]:
        """What a run rests on: place, key, role, model, fault, tokens, in the order in which it was first needed."""
        return self._rows(
            "SELECT a.place, e.key, e.role, e.model, e.fault, e.prompt_tokens, e.completion_tokens "
            "FROM asked a JOIN exchanges e USING (key) WHERE a.run = ? ORDER BY a.rowid",
            run,
        )

    def tape(self, run: str) -> list[tuple[str, Row]]:
        """A run's exchanges with their places, each once, in the order in which they were first needed."""
        found = self._rows(
            "SELECT a.place, e.exchange FROM asked a JOIN exchanges e USING (key) WHERE a.run = ? "
            "GROUP BY e.key ORDER BY MIN(a.rowid)",
            run,
        )
        return [(row["place"], load_cell(row["exchange"])) for row in found]

    # --- versions of a proposal -----------------------------------------------------------------------------------

    def add_version(self, run: str, number: int, version: int, address: str, proposal: Row, outcome: Outcome) -> None:
        """Keep a version of a proposal that did not last, with the outcome that it came to."""
        row = dict(
            run=run, number=number, version=version, address=address, proposal=proposal, outcome=outcome.as_dict()
        )  # fmt: skip
        self._put("versions", row)

    def versions(self, run: str, number: int | None = None) -> list[Row]:
        """The versions of a run's proposals (or of one) that did not last, with their outcomes."""
        found = self._rows(
            "SELECT * FROM versions WHERE run = ?1 AND (?2 IS NULL OR number = ?2) ORDER BY number, version",
            run,
            number,
        )
        return [
            {**row, "proposal": load_cell(row["proposal"]), "outcome": Outcome(**load_cell(row["outcome"]))}
            for row in found
        ]

    def is_version(self, run: str, address: str, before: int | None = None) -> bool:
        """Whether a version of a proposal (with a number before one) that did not last was this candidate."""
        found = self._rows(
            "SELECT 1 FROM versions WHERE run = ?1 AND address = ?2 AND (?3 IS NULL OR number < ?3) LIMIT 1",
            run, address, before,
        )  # fmt: skip
        return bool(found)

    def mended(self, run: str, before: int) -> list[str]:
        """Every address, past and present, of the proposals before a number that have versions."""
        found = self._rows(
            "SELECT address FROM versions WHERE run = ?1 AND number < ?2 UNION SELECT address FROM proposals "
            "WHERE run = ?1 AND number < ?2 AND number IN (SELECT number FROM versions WHERE run = ?1)",
            run, before,
        )  # fmt: skip
        return [row["address"] for row in found]

    def replace_proposal(self, run: str, number: int, generation: int, proposal: Row) -> None:
        """Let a proposal stand for the one of that number (its row, as `add_proposal` takes it)."""
        row = dict(run=run, number=number, generation=generation, **proposal)
        self.archive._insert("proposals", row, replace=True)

    # --- decisions and judgements ---------------------------------------------------------------------------------

    def decide(self, run: str, number: int, address: str, twin: str) -> None:
        """Keep whether a candidate behaves as another one did (its address), or as none (empty)."""
        self._put("decisions", dict(run=run, number=number, address=address, twin=twin))

    def decided(self, run: str, number: int, address: str) -> str | None:
        """What was decided, or None while nothing was."""
        found = self._rows(
            "SELECT twin FROM decisions WHERE run = ? AND number = ? AND address = ?", run, number, address
        )
        return found[0]["twin"] if found else None

    def novel(self, run: str, number: int, among: Sequence[str]) -> list[str]:
        """Which of some candidates a run found to behave as no other, in order; versions of one proposal left out."""
        places = ", ".join("?" * len(among))
        found = self._rows(
            f"SELECT address FROM decisions WHERE address IN ({places}) AND run = ? AND number != ? AND twin = '' "
            "ORDER BY number",
            *among,
            run,
            number,
        )
        return [row["address"] for row in found]

    def add_judgement(self, run: str, number: int, sample: int, marks: Row) -> None:
        """Keep one sample of the judge's marks."""
        self._put("judgements", dict(run=run, number=number, sample=sample, marks=marks), replace=True)

    def judgements(self, run: str) -> list[Row]:
        """The judge's marks: number, sample, marks."""
        found = self._rows("SELECT * FROM judgements WHERE run = ? ORDER BY number, sample", run)
        return [{**row, "marks": load_cell(row["marks"])} for row in found]
