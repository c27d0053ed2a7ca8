"""The extract: the rows of an archive that a report rests on, as one file of compressed JSON lines.

The first line is the head; each other is ``["table", {column: value}]``, in the order in which rows refer to one
another, a scored trial followed by its per-item results. What no report reads is left out: the gates' findings, and
exchanges with language models. The same rows give the same bytes.

A likelihood is kept in tenths of a nat, rounded so that the sum of all stays right to half of one: the value of a trial
is what its items give, to nine digits or to that half.
"""

from __future__ import annotations

import gzip
import json
import math
import sqlite3
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

from asiarc.archive.kernels import TIMINGS, has, lay
from asiarc.archive.store import Archive
from asiarc.core.errors import AsiarcError, EvidenceError

FORMAT = 2  # since it, trials say what they bought; rows of the first have less, and are read
UNIT = 0.1  # nats
MOST_BYTES = 2**30  # unpacked
Row = dict[str, Any]

_USED = "SELECT trial FROM uses WHERE run IN (SELECT value FROM json_each(?1))"
_TAKEN = (
    "SELECT address FROM proposals WHERE run IN (SELECT value FROM json_each(?1)) "
    f"UNION SELECT address FROM trials WHERE key IN ({_USED})"
)
_OF_RUNS = "SELECT * FROM {} WHERE run IN (SELECT value FROM json_each(?1)) ORDER BY rowid"
_NAMED = (
    "SELECT value FROM runs, json_each(runs.identity, '$.baselines') WHERE run IN (SELECT value FROM json_each(?1)) "
    "UNION SELECT json_extract(identity, '$.start') FROM runs WHERE run IN (SELECT value FROM json_each(?1))"
)
# ?1: the runs, as JSON. Of the other runs only that they were, and which of their stages are finished.
QUERIES = {
    "runs": "SELECT * FROM runs ORDER BY rowid",
    "candidates": f"SELECT * FROM candidates WHERE address IN ({_TAKEN} UNION {_NAMED}) ORDER BY rowid",
    "admissions": "SELECT key, address, outcome, gate, reason, '[]' AS findings, measures, cpu_s FROM admissions "
    f"WHERE address IN ({_TAKEN}) ORDER BY rowid",
    "proposals": _OF_RUNS.format("proposals"),
    "results": _OF_RUNS.format("results"),
    "trials": f"SELECT * FROM trials WHERE key IN ({_USED}) ORDER BY key",
    "uses": _OF_RUNS.format("uses"),
    "insights": _OF_RUNS.format("insights"),
    "stages": "SELECT run, stage, CASE WHEN run IN (SELECT value FROM json_each(?1)) THEN result ELSE '{}' END AS "
    "result FROM stages ORDER BY rowid",
    "verdicts": "SELECT * FROM verdicts WHERE tier = ?2 ORDER BY rowid",
    TIMINGS: _OF_RUNS.format(TIMINGS),
}


@dataclass(frozen=True)
class Extract:
    """An extract, opened: its rows as an archive, and what the items of each trial give.

    `values` maps a trial's key to its value from its items and to how far rounding may have moved that.
    """

    archive: Archive
    head: Row
    values: dict[str, tuple[float, float]]
    items: int


def save(archive: Archive, runs: Iterable[str], path: Path, *, tier: str, campaigns: Sequence[str] | None) -> None:
    """Write what some runs rest on, with the verdicts of a tier."""
    head = {"extract": FORMAT, "tier": tier, "campaigns": campaigns and list(campaigns)}
    lines = _lines(archive, json.dumps(sorted(set(runs))), tier)
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in (head, *lines))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def with_verdicts(path: Path, verdicts: Mapping[str, Row]) -> None:
    """Put verdicts by claim in the place of those that an extract holds; its other lines stay as they are."""
    lines = []
    for text in _unpacked(path):
        line = json.loads(text)
        if isinstance(line, list) and line[0] == "verdicts" and line[1]["claim"] in verdicts:
            before = json.loads(line[1]["verdict"])
            kept = {"registered": before["registered"]} if "registered" in before else {}  # of the run, not decided
            line[1]["verdict"] = json.dumps(verdicts[line[1]["claim"]] | kept)
            text = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        lines.append(text)
    path.write_bytes(gzip.compress(b"".join(lines), mtime=0))


def _lines(archive: Archive, runs: str, tier: str) -> Iterator[list[Any]]:
    lengths: list[list[int]] = []  # of the items in bytes: the same in every trial on the same text
    for table, query in QUERIES.items():
        if table == TIMINGS and not has(archive, TIMINGS):
            continue
        for row in archive.each(query, *((runs, tier) if "?2" in query else (runs,) if "?1" in query else ())):
            if table == "proposals" and not row.get("author"):  # as before there were any
                row.pop("author", None)
            yield [table, row]
            if table == "trials" and (items := archive.items(row["key"])):
                yield ["items", {"trial": row["key"], **_packed([item.get("value") for item in items], lengths)}]


def _packed(values: list[Any], lengths: list[list[int]]) -> Row:
    """Likelihoods with their lengths in bytes as steps of `UNIT`; other results as they are."""
    if not all(isinstance(value, list) for value in values):
        return {"values": [int(v) if v in (0, 1) else v for v in values]}
    mine = [int(length) for _, length in values]
    if mine not in lengths:
        lengths.append(mine)
    sums = [round(total / UNIT) for total in accumulate(log for log, _ in values)]
    return {"logs": [b - a for a, b in pairwise([0, *sums])], "lengths": lengths.index(mine)} | (
        {"bytes": mine} if lengths[-1] is mine else {}
    )


@dataclass
class _Intake:
    """Takes lines in, one after another."""

    archive: Archive
    head: Row | None = None
    lengths: list[list[int]] = field(default_factory=list)
    values: dict[str, tuple[float, float]] = field(default_factory=dict)
    items: int = 0

    def take(self, line: Any) -> None:
        if self.head is None:
            if line["extract"] not in (1, FORMAT):
                raise ValueError(f"format {line['extract']!r}, this asiarc reads up to {FORMAT}")
            self.head = line
            return
        table, row = line
        if table == "items":
            self._items(**row)
        elif table not in QUERIES:
            raise ValueError(f"no table {table!r}; there are {', '.join(QUERIES)}")
        else:
            if table == TIMINGS:
                lay(self.archive)
            self.archive.restore(table, row)

    def _items(
        self,
        trial: str,
        values: list[float] | None = None,
        logs: list[int] | None = None,
        lengths: int = 0,
        bytes: list[int] | None = None,  # noqa: A002 - the word of the file
    ) -> None:
        if bytes is not None:
            self.lengths.append(bytes)
        if trial in self.values:
            raise ValueError(f"items of trial {trial} for the second time")
        if logs is None:
            assert values, "no items"
            self.values[trial] = math.fsum(values) / len(values), 0.0
        else:
            assert len(logs) == len(self.lengths[lengths]), "as many lengths as likelihoods"
            nats_per_bit = math.log(2) * sum(self.lengths[lengths])
            self.values[trial] = -UNIT * sum(logs) / nats_per_bit, UNIT / 2 / nats_per_bit
        self.items += len(values or logs or ())


@contextmanager
def opened(path: Path) -> Iterator[Extract]:
    """The extract of a file, its archive in a temporary folder; `EvidenceError` names the line that cannot be read."""
    with tempfile.TemporaryDirectory() as folder, Archive(Path(folder)) as archive:
        reader, number = _Intake(archive), 0
        try:
            with archive.transaction():
                for number, line in enumerate(_unpacked(path), 1):  # noqa: B007 - told below
                    reader.take(json.loads(line))
            if reader.head is None:
                raise ValueError("nothing in it")
        except (
            AsiarcError, OSError, EOFError, zlib.error, sqlite3.Error, ValueError, LookupError, TypeError,
            AttributeError, AssertionError, ArithmeticError, RecursionError,
        ) as error:  # fmt: skip
            where = f"{path}, line {number}" if number else path
            raise EvidenceError(
                f"{where}: {type(error).__name__}: {error}; it is damaged or no extract: take it from where the report "
                "was published, or write the report again"
            ) from error
        yield Extract(archive, reader.head, reader.values, reader.items)


def each(path: Path) -> Iterator[tuple[str, Row]]:
    """Every row of an extract with its table, in order, its head left out, cells of JSON as text.

    Items are told as ``trial``, ``values`` (0 or 1, or nats, where ``bytes`` says how long each text is) and ``bytes``.
    The file is one that `opened` reads.
    """
    lengths: list[list[int]] = []
    for line in islice(_unpacked(path), 1, None):
        table, row = json.loads(line)
        if table == "items":
            lengths += [row["bytes"]] if "bytes" in row else []
            logs = row.get("logs")
            row = {
                "trial": row["trial"],
                "values": row["values"] if logs is None else [UNIT * steps for steps in logs],
                "bytes": None if logs is None else lengths[row["lengths"]],
            }
        yield table, row


def hashes(path: Path) -> dict[str, Row]:
    """Of each table of an extract its `count` of rows and a `sha256`: of the hashes of its rows, in order."""
    tables: dict[str, list[bytes]] = {}
    for line in islice(_unpacked(path), 1, None):
        table, row = json.loads(line)
        tables.setdefault(table, []).append(sha256(json.dumps(row, sort_keys=True).encode()).digest())
    return {table: {"count": len(each), "sha256": sha256(b"".join(each)).hexdigest()} for table, each in tables.items()}


def _unpacked(path: Path) -> Iterator[bytes]:
    left = MOST_BYTES
    with gzip.open(path) as file:
        while line := file.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise ValueError(f"more than {MOST_BYTES} bytes unpacked")
            yield line
