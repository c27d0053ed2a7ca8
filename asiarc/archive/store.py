"""The store: one SQLite file in WAL mode, and per-item logs as content-addressed files beside it.

Every method that writes commits before it returns, so a killed process loses at most the trial in flight. One process
writes at a time (a lock file says who); any number may read. What the disk or the file refuses, at opening or later, is
an `ArchiveError` that says how to go on. What a proposal needs is asked by index, so that a million candidates may be
kept (measured). CROSS JOIN and INDEXED BY say which index leads: a new archive has no
statistics that SQLite could choose by.
"""

from __future__ import annotations

import fcntl
import gzip
import itertools
import json
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from asiarc.archive.cells import load_cell
from asiarc.core.bought import Bought
from asiarc.core.errors import ArchiveError
from asiarc.core.outcome import Outcome

SCHEMA_VERSION = 7
# What brings a file of that version to the next; new tables and indices come with the schema by themselves.
# Format 4 keeps what a candidate computes once; what 3 held of it cannot be told by probes, and is asked for again.
_MIGRATIONS = {
    1: "ALTER TABLE results ADD COLUMN holds INTEGER NOT NULL DEFAULT 1;",
    2: "",
    3: "DROP TABLE IF EXISTS behaviours; DROP TABLE IF EXISTS fingerprints;",
    4: "ALTER TABLE trials RENAME COLUMN protocol TO recipe;",
    5: "ALTER TABLE trials ADD COLUMN train_s REAL; ALTER TABLE trials ADD COLUMN gpu_memory_bytes INTEGER; "
    "ALTER TABLE trials ADD COLUMN energy_j REAL; ALTER TABLE trials ADD COLUMN peak_flops_per_s REAL;",
    6: "ALTER TABLE proposals ADD COLUMN author TEXT NOT NULL DEFAULT '';",
}
# What a reader sees of a file of that version, which it leaves as it is.
_READ_AS = {
    5: "CREATE TEMP VIEW trials AS SELECT *, NULL AS train_s, NULL AS gpu_memory_bytes, NULL AS energy_j, "
    "NULL AS peak_flops_per_s FROM main.trials;"
}
CELL = 0.01  # width of the grid that behaviours are looked up on
Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One stored trial; `value` is set exactly when the outcome is scored."""

    key: str
    address: str
    task: str
    stage: str
    seed: str
    steps: int
    learning_rate: float
    outcome: Outcome
    metric: str | None
    value: float | None
    parameters: int | None
    state_bytes: int | None
    flops_per_token: float | None
    curve: list[list[float]]
    details: Row
    wall_s: float
    cpu_s: float
    bought: Bought = field(default_factory=Bought)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _writer_lock(folder: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """The right to write in a folder; `ArchiveError` names the process that has it. With `wait`, which is told who has
    it, it is waited for in a queue that the system keeps."""
    with (folder / "writer.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            who = f"{lock.read().strip() or 'another process'} is writing to the archive in {folder}"
            if wait is None:
                raise ArchiveError(f"{who}; wait for it, or give this run a folder of its own with --store") from error
            wait(f"{who}; this waits for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(f"process {os.getpid()}")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)  # whoever watches sees that nobody writes any more


def _keep_from_git(folder: Path) -> None:
    """A store that was not named, ``.asiarc`` in somebody's repository, is nothing to commit; a named one may be."""
    ignored = folder / ".gitignore"
    if folder.name.startswith(".") and not ignored.exists():
        ignored.write_text("*\n", encoding="utf-8")


def _refusal(folder: Path, error: Exception) -> ArchiveError:
    if isinstance(error, (OSError, sqlite3.OperationalError)):
        way = (
            "Free the disk or fix its permissions and run the same command again, what was committed is kept; or "
            "choose another folder with --store"
        )
    else:
        way = (
            "It is damaged: keep a copy, go on with another folder (--store), and try the sqlite3 command .recover on "
            "archive.db"
        )
    return ArchiveError(f"the archive in {folder} cannot be used: {error}. {way}; the file is left as it is")


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    """What the disk or the file refuses, as an `ArchiveError`; a row that breaks the schema is a programmer's error."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except (OSError, EOFError, zlib.error, sqlite3.Error, UnicodeDecodeError) as error:
        raise _refusal(folder, error) from error


def _nothing_in(folder: Path) -> ArchiveError:
    return ArchiveError(f"no archive in {folder}; run a campaign first: pytest campaigns")


def set_aside(folder: Path) -> Path:
    """Rename an archive's folder, whatever is in it, and return its new place; `ArchiveError` while it is written."""
    with _writer_lock(folder):
        names = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(1))
        return folder.rename(next(name for name in names if not name.exists()))


NEWS = ("trials", "stages", "verdicts")  # what changes a report


def _cell(number: float) -> int:
    return round(number / CELL)


_SCORED = (
    "SELECT r.number, r.address, c.name, c.genome, r.gain, r.scores FROM results r "
    "CROSS JOIN candidates c USING (address) WHERE r.run = ?1 AND r.outcome = 'scored'"
)
_PROPOSALS = "SELECT p.*, c.source, c.genome FROM proposals p JOIN candidates c USING (address)"


def _proposal(row: Row) -> Row:
    return row | {name: load_cell(row[name]) for name in ("parents", "origins", "genome")}


def _scored(row: Row) -> Row:
    return row | {name: load_cell(row[name]) for name in ("genome", "scores")}


def _outcome(row: Row) -> Outcome:
    return Outcome(row["outcome"], row["reason"], row["gate"])


def _result(row: Row) -> Row:
    return row | {"outcome": _outcome(row), "scores": load_cell(row["scores"])}


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    """Where SQLite opens an archive. Beside a file in WAL mode it writes even to read: where it cannot, what is
    settled is read as it lies, and the rest from a copy."""
    file, log = folder / "archive.db", folder / "archive.db-wal"
    settled = not (log.exists() and log.stat().st_size)
    if os.access(folder, os.W_OK):
        yield file.absolute().as_uri()
    elif settled:
        yield f"{file.absolute().as_uri()}?immutable=1"
    else:
        with tempfile.TemporaryDirectory(prefix="asiarc-reading-") as copy:
            for part in (file, log):
                shutil.copy(part, copy)
            yield Path(copy, file.name).as_uri()


@cache
def _insertion(table: str, names: tuple[str, ...], *, replace: bool) -> str:
    verb, unless = ("REPLACE", "") if replace else ("INSERT", "ON CONFLICT DO NOTHING")
    return f"{verb} INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) {unless}"


class Archive:
    """Open with ``Archive(folder)``; the folder is made when it is missing.

    Raises `ArchiveError` when the folder cannot be written, the file is not an archive, comes from another version,
    or another process is writing to it; with `wait`, a line for whoever waits, that one is waited for.
    """

    def __init__(self, folder: Path, *, write: bool = True, wait: Callable[[str], None] | None = None) -> None:
        self.folder = folder
        self.has_news = False  # whether a trial, a stage or a verdict was added since it was opened
        with ExitStack() as opened:  # what was opened is closed again where the rest fails
            with _in_words(folder):
                if write:
                    folder.mkdir(parents=True, exist_ok=True)
                    _keep_from_git(folder)
                    opened.enter_context(_writer_lock(folder, wait))
                    shutil.rmtree(folder / "partial", ignore_errors=True)  # what a killed writer was writing
                elif not (folder / "archive.db").exists():
                    raise _nothing_in(folder)
                self._db = sqlite3.connect(opened.enter_context(_database(folder)), uri=True, isolation_level=None)
                opened.callback(self._db.close)
                self._db.row_factory = sqlite3.Row
                self._prepare(write=write)
            self._opened = opened.pop_all()

    def _prepare(self, *, write: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise ArchiveError(
                f"the archive in {self.folder} has format {version}, this asiarc writes format {SCHEMA_VERSION}; "
                "keep it and choose another folder with --store"
            )
        if version == 0 and not write:
            raise _nothing_in(self.folder)
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA busy_timeout = 10000")
        if write:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA cache_size = -65536")  # 64 MiB: keys are hashes and fall anywhere
            if version < SCHEMA_VERSION:
                older = [_MIGRATIONS[step] for step in range(version or SCHEMA_VERSION, SCHEMA_VERSION)]
                script = [*older, Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")]
                self._db.executescript(
                    f"BEGIN IMMEDIATE; {' '.join(script)} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                )
        else:
            self._db.executescript(_READ_AS.get(version, ""))
            self._db.execute("PRAGMA query_only = ON")

    def close(self) -> None:
        """Give the file and the lock back."""
        self._opened.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several writes as one atomic commit."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        finally:
            if self._db.in_transaction:  # it was not committed, and a full disk has not ended it already
                self._db.execute("ROLLBACK")

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        """A query of the archive as dictionaries (reading only)."""
        return list(self.each(sql, *parameters))

    def each(self, sql: str, *parameters: Any) -> Iterator[Row]:
        """As `rows`, one at a time: for what may not fit into memory. Nothing may be written meanwhile."""
        with _in_words(self.folder):
            for row in self._db.execute(sql, parameters):
                yield dict(row)

    def drop(self, table: str, where: str, *values: Any) -> None:
        """Delete the rows of a table that a condition names."""
        self._execute(f"DELETE FROM {table} WHERE {where}", values)

    def _insert(self, table: str, row: Mapping[str, Any], *, replace: bool = False) -> None:
        values = [json.dumps(v) if isinstance(v, (dict, list, tuple)) else v for v in row.values()]
        before = self._db.total_changes
        self._execute(_insertion(table, tuple(row), replace=replace), values)
        self.has_news |= table in NEWS and self._db.total_changes > before

    def restore(self, table: str, row: Mapping[str, Any]) -> None:
        """Put a row back as a query gave it; `ValueError` for a column that the table has not."""
        columns = {column["name"] for column in self._db.execute(f"PRAGMA table_info({table})")}
        if unknown := row.keys() - columns:
            raise ValueError(f"{table} has no {', '.join(sorted(unknown))}")
        self._insert(table, row)

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        with _in_words(self.folder):
            self._db.execute(sql, values)

    # --- runs -----------------------------------------------------------------------------------------------------

    def add_run(self, run: str, campaign: str, tier: str, seed: int, identity: Row, provenance: Row) -> None:
        """Remember a run as the latest; running it again keeps what was first recorded of it."""
        asked = dict(campaign=campaign, tier=tier, seed=seed, identity=identity, provenance=provenance)
        self._insert("runs", dict(run=run, **asked, created_at=_now()))
        self._execute("UPDATE runs SET rowid = (SELECT max(rowid) + 1 FROM runs) WHERE run = ?", (run,))

    def run(self, run: str) -> Row | None:
        """A run's record, or None."""
        found = self.rows("SELECT * FROM runs WHERE run = ?", run)
        return self._run_row(found[0]) if found else None

    def runs(self, campaign: str | None = None, tier: str | None = None) -> list[Row]:
        """All runs, the one that was asked for last at the end."""
        found = self.rows(
            "SELECT * FROM runs WHERE (?1 IS NULL OR campaign = ?1) AND (?2 IS NULL OR tier = ?2) ORDER BY rowid",
            campaign,
            tier,
        )
        return [self._run_row(row) for row in found]

    @staticmethod
    def _run_row(row: Row) -> Row:
        return {**row, "identity": load_cell(row["identity"]), "provenance": load_cell(row["provenance"])}

    # --- candidates and lineage -----------------------------------------------------------------------------------

    def add_candidate(self, address: str, name: str, source: str, motivation: str, genome: Row | None = None) -> None:
        """Keep a source under its content address; whoever knows its genome adds that, though another kept it first."""
        self._insert(
            "candidates", dict(address=address, name=name, source=source, motivation=motivation, genome=genome)
        )
        if genome is not None:
            self._execute(
                "UPDATE candidates SET genome = ? WHERE address = ? AND genome IS NULL", (json.dumps(genome), address)
            )

    def candidate(self, address: str) -> Row | None:
        """A candidate's record, or None."""
        found = self.rows("SELECT * FROM candidates WHERE address = ?", address)
        return {**found[0], "genome": load_cell(found[0]["genome"])} if found else None

    def add_behaviour(self, probes: str, address: str, numbers: Sequence[float]) -> None:
        """Note what a candidate computes on some probes: at least two numbers of order one, or none."""
        first, second = map(_cell, numbers[:2]) if numbers else (None, None)
        row = dict(probes=probes, address=address, cell_0=first, cell_1=second, numbers=list(numbers))
        self._insert("behaviours", row, replace=True)

    def behaviour(self, probes: str, address: str) -> list[float] | None:
        """What a candidate computes on some probes; None while that is not noted."""
        found = self.rows("SELECT numbers FROM behaviours WHERE probes = ? AND address = ?", probes, address)
        return list(load_cell(found[0]["numbers"])) if found else None

    def behaving_as(self, probes: str, numbers: Sequence[float], within: float) -> list[str]:
        """The addresses whose every number is within a distance (of at most `CELL`) of these, in order."""
        assert within <= CELL, "candidates in neighbouring cells are compared, and no others"
        first, second = map(_cell, numbers[:2])
        found = self.rows(
            "SELECT address, numbers FROM behaviours INDEXED BY behaviours_by_cell "
            "WHERE probes = ?3 AND cell_0 IN (?1 - 1, ?1, ?1 + 1) "
            "AND cell_1 BETWEEN ?2 - 1 AND ?2 + 1",
            first,
            second,
            probes,
        )
        near = (max(abs(a - b) for a, b in zip(numbers, load_cell(row["numbers"]), strict=True)) for row in found)
        return sorted(row["address"] for row, distance in zip(found, near, strict=True) if distance <= within)

    def is_proposed(self, run: str, address: str, before: int | None = None) -> bool:
        """Whether a run has proposed a candidate (before a number)."""
        found = self.rows(
            "SELECT 1 FROM proposals WHERE address = ?1 AND run = ?2 AND (?3 IS NULL OR number < ?3) LIMIT 1",
            address, run, before,
        )  # fmt: skip
        return bool(found)

    def add_proposal(self, run: str, number: int, generation: int, proposal: Row) -> None:
        """Keep one proposal of a run: address, name, motivation, parents, origins, predicted, author."""
        self._insert("proposals", dict(run=run, number=number, generation=generation, **proposal))

    def proposals(self, run: str) -> list[Row]:
        """A run's proposals in order, each with its source and genome."""
        return [_proposal(row) for row in self.rows(f"{_PROPOSALS} WHERE run = ? ORDER BY number", run)]

    def proposal(self, run: str, number: int) -> Row | None:
        """One proposal of a run with its source and genome, or None."""
        found = self.rows(f"{_PROPOSALS} WHERE run = ? AND number = ?", run, number)
        return _proposal(found[0]) if found else None

    def motivations(self, run: str, before: int) -> list[Row]:
        """What was proposed before a number, and why (address, name, motivation), in order."""
        return self.rows(
            "SELECT address, name, motivation FROM proposals WHERE run = ? AND number < ? ORDER BY number", run, before
        )

    def addresses(self, run: str, first: int, stop: int) -> list[str]:
        """The addresses of the proposals from a number up to another, in order."""
        found = self.rows(
            "SELECT address FROM proposals WHERE run = ? AND number >= ? AND number < ? ORDER BY number",
            run, first, stop,
        )  # fmt: skip
        return [row["address"] for row in found]

    def add_result(
        self,
        run: str,
        number: int,
        address: str,
        outcome: Outcome,
        *,
        rung: int,
        gain: float | None,
        scores: Row,
        holds: bool = True,
    ) -> None:
        """Keep how a proposal ended: its outcome, the last rung it was scored on (-1: none), its gain there, and
        whether it held the campaign's capability checks."""
        assert (outcome.kind == "scored") == (gain is not None), "a gain comes with scored candidates only"
        self._insert(
            "results",
            dict(
                run=run,
                number=number,
                address=address,
                outcome=outcome.kind,
                gate=outcome.gate,
                reason=outcome.reason,
                rung=rung,
                gain=gain,
                scores=scores,
                holds=holds,
            ),
            replace=True,
        )

    def leading(self, run: str, count: int) -> list[Row]:
        """The best scored proposals of a run, best first: capability held, then the deepest rung, then the larger gain,
        then the earlier (address, number, gain, rung, holds)."""
        found = self.rows(
            "SELECT address, number, gain, rung, holds FROM results WHERE run = ? AND outcome = 'scored' "
            "ORDER BY holds DESC, rung DESC, gain DESC, number LIMIT ?",
            run,
            count,
        )
        return [{**row, "holds": bool(row["holds"])} for row in found]

    def leading_numbers(self, run: str, count: int) -> list[int]:
        """The numbers of the `leading`, in the order of the proposals: the index alone answers."""
        found = self.rows(
            "SELECT number FROM results WHERE run = ? AND outcome = 'scored' "
            "ORDER BY holds DESC, rung DESC, gain DESC, number LIMIT ?",
            run, count,
        )  # fmt: skip
        return sorted(row["number"] for row in found)

    def children(self, run: str, parent: str, count: int) -> list[int]:
        """The numbers of the best scored proposals whose first parent is an address, best first."""
        found = self.rows(
            "SELECT p.number FROM proposals p CROSS JOIN results r ON r.run = p.run AND r.number = p.number "
            "WHERE p.run = ? AND json_extract(p.parents, '$[0]') = ? AND r.outcome = 'scored' "
            "ORDER BY r.holds DESC, r.rung DESC, r.gain DESC, r.number LIMIT ?",
            run, parent, count,
        )  # fmt: skip
        return [row["number"] for row in found]

    def last_failed(self, run: str, before: int, count: int) -> list[Row]:
        """The latest proposals before a number that were not scored, in order (address, name, outcome)."""
        found = self.rows(
            "SELECT r.address, p.name, r.outcome, r.gate, r.reason FROM results r "
            "CROSS JOIN proposals p ON p.run = r.run AND p.number = r.number "
            "WHERE r.run = ? AND r.outcome != 'scored' AND r.number < ? ORDER BY r.number DESC LIMIT ?",
            run, before, count,
        )  # fmt: skip
        return [{"address": row["address"], "name": row["name"], "outcome": _outcome(row)} for row in found[::-1]]

    def population(self, run: str, last: int, count: int) -> list[Row]:
        """The latest scored proposals up to a number, in order (number, address, name, genome, gain, scores)."""
        found = self.rows(f"{_SCORED} AND r.number <= ?2 ORDER BY r.number DESC LIMIT ?3", run, last, count)
        return [_scored(row) for row in found[::-1]]

    def scored(self, run: str, address: str) -> Row | None:
        """The scored proposal of a run that is this candidate, as `population` gives it, or None."""
        found = self.rows(
            f"{_SCORED} AND r.number IN (SELECT number FROM proposals WHERE address = ?2 AND run = ?1) LIMIT 1",
            run, address,
        )  # fmt: skip
        return _scored(found[0]) if found else None

    def result(self, run: str, number: int) -> Row | None:
        """How a proposal ended, with `outcome` as `Outcome`, or None while it has not."""
        found = self.rows("SELECT * FROM results WHERE run = ? AND number = ?", run, number)
        return _result(found[0]) if found else None

    def results(self, run: str) -> list[Row]:
        """How a run's proposals ended, in order, with `outcome` as `Outcome`."""
        return [_result(row) for row in self.rows("SELECT * FROM results WHERE run = ? ORDER BY number", run)]

    # --- admissions -----------------------------------------------------------------------------------------------

    def add_admission(
        self, key: str, address: str, outcome: Outcome, findings: list[Row], measures: Row | None, cpu_s: float
    ) -> None:
        """Keep what the gates said of a candidate; an infrastructure failure is replaced on the next try."""
        self._insert(
            "admissions",
            dict(
                key=key,
                address=address,
                outcome=outcome.kind,
                gate=outcome.gate,
                reason=outcome.reason,
                findings=findings,
                measures=measures,
                cpu_s=cpu_s,
            ),
            replace=True,
        )

    def admission(self, key: str) -> Row | None:
        """The stored admission (with `outcome` as `Outcome`), or None."""
        found = self.rows("SELECT * FROM admissions WHERE key = ?", key)
        if not found:
            return None
        row = found[0]
        return {
            **row,
            "outcome": _outcome(row),
            "findings": load_cell(row["findings"]),
            "measures": load_cell(row["measures"]),
        }

    # --- losses ---------------------------------------------------------------------------------------------------

    def losses(self, key: str) -> int:
        """How often in a row the machine failed under a job."""
        found = self.rows("SELECT times FROM losses WHERE key = ?", key)
        return int(found[0]["times"]) if found else 0

    def set_losses(self, key: str, times: int) -> None:
        """Keep how often it did; 0: the job came to an end of its own."""
        if times:
            self._insert("losses", dict(key=key, times=times), replace=True)
        elif self.losses(key):
            self.drop("losses", "key = ?", key)

    # --- trials ---------------------------------------------------------------------------------------------------

    def add_trial(self, trial: Trial, recipe: Row, *, layers: Iterable[str]) -> None:
        """Keep a finished trial; an infrastructure failure is replaced on the next try."""
        outcome = trial.outcome
        assert (outcome.kind == "scored") == (trial.value is not None), "numbers come with scored trials only"
        assert trial.value is None or isfinite(trial.value), "SQLite would keep a NaN as no value at all"
        self._insert(
            "trials",
            dict(
                key=trial.key,
                address=trial.address,
                task=trial.task,
                stage=trial.stage,
                seed=trial.seed,
                recipe=recipe,
                steps=trial.steps,
                learning_rate=trial.learning_rate,
                outcome=outcome.kind,
                gate=outcome.gate,
                reason=outcome.reason,
                metric=trial.metric,
                value=trial.value,
                parameters=trial.parameters,
                state_bytes=trial.state_bytes,
                flops_per_token=trial.flops_per_token,
                curve=trial.curve,
                details=trial.details,
                layers=list(layers),
                wall_s=trial.wall_s,
                cpu_s=trial.cpu_s,
                **vars(trial.bought),
                created_at=_now(),
            ),
            replace=True,
        )

    def trial(self, key: str) -> Trial | None:
        """A stored trial, or None."""
        found = self.rows("SELECT * FROM trials WHERE key = ?", key)
        return self._trial(found[0]) if found else None

    def add_use(self, run: str, stage: str, key: str) -> None:
        """Note that a run's stage rests on a trial."""
        self._insert("uses", dict(run=run, stage=stage, trial=key))

    def trials(self, run: str, stage: str | None = None) -> list[Trial]:
        """The trials that a run (or one stage of it) rests on, ordered by key."""
        found = self.rows(
            "SELECT t.* FROM uses u JOIN trials t ON t.key = u.trial "
            "WHERE u.run = ?1 AND (?2 IS NULL OR u.stage = ?2) ORDER BY t.key",
            run,
            stage,
        )
        return [self._trial(row) for row in found]

    def longest_curve(self, run: str, address: str, task: str) -> list[list[float]]:
        """The curve of a candidate's longest trial on a task in explore; empty where there is none."""
        found = self.rows(
            "SELECT t.curve FROM trials t CROSS JOIN uses u ON u.run = ? AND u.stage = 'explore' AND u.trial = t.key "
            "WHERE t.address = ? AND t.task = ? ORDER BY t.steps DESC, t.seed DESC LIMIT 1",
            run, address, task,
        )  # fmt: skip
        return (load_cell(found[0]["curve"]) or []) if found else []

    @staticmethod
    def _trial(row: Row) -> Trial:
        return Trial(
            key=row["key"],
            address=row["address"],
            task=row["task"],
            stage=row["stage"],
            seed=row["seed"],
            steps=row["steps"],
            learning_rate=row["learning_rate"],
            outcome=_outcome(row),
            metric=row["metric"],
            value=row["value"],
            parameters=row["parameters"],
            state_bytes=row["state_bytes"],
            flops_per_token=row["flops_per_token"],
            curve=load_cell(row["curve"]) or [],
            details=load_cell(row["details"]) or {},
            wall_s=row["wall_s"],
            cpu_s=row["cpu_s"],
            bought=Bought.of(row),
        )

    # --- what agents and stages leave behind ----------------------------------------------------------------------

    def add_insight(self, run: str, number: int, generation: int, address: str, insight: Row) -> None:
        """Keep what the analyst wrote about a proposal."""
        self._insert(
            "insights",
            dict(run=run, number=number, generation=generation, address=address, insight=insight),
            replace=True,
        )

    def insights(self, run: str, number: int | None = None) -> list[Row]:
        """A run's insights in the order of the proposals, or the one on a proposal."""
        which = "" if number is None else " AND number = ?"
        asked = (run,) if number is None else (run, number)
        found = self.rows(f"SELECT * FROM insights WHERE run = ?{which} ORDER BY number", *asked)
        return [{**row, "insight": load_cell(row["insight"])} for row in found]

    def insight(self, run: str, address: str) -> Row | None:
        """What the analyst wrote about a candidate of a run, or None."""
        found = self.rows("SELECT insight FROM insights WHERE run = ? AND address = ? LIMIT 1", run, address)
        return load_cell(found[0]["insight"]) if found else None

    def finish_stage(self, run: str, stage: str, result: Row) -> None:
        """Mark a stage as done, with what it hands to the next."""
        self._insert("stages", dict(run=run, stage=stage, result=result), replace=True)

    def stage_result(self, run: str, stage: str) -> Row | None:
        """What a finished stage handed over, or None while it is not finished."""
        found = self.rows("SELECT result FROM stages WHERE run = ? AND stage = ?", run, stage)
        return load_cell(found[0]["result"]) if found else None

    def add_verdict(self, claim: str, tier: str, item: str, verdict: Row) -> None:
        """Keep the latest verdict of one item on a claim."""
        self._insert(
            "verdicts", dict(claim=claim, tier=tier, item=item, verdict=verdict, created_at=_now()), replace=True
        )

    def verdicts(self, tier: str) -> list[Row]:
        """The latest verdicts at a tier, ordered by claim."""
        return [
            load_cell(row["verdict"])
            for row in self.rows("SELECT verdict FROM verdicts WHERE tier = ? ORDER BY claim, item", tier)
        ]

    # --- per-item logs --------------------------------------------------------------------------------------------

    def add_items(self, key: str, items: list[Row]) -> None:
        """Keep a trial's lm-eval per-item logs as a compressed JSON-lines file, written whole or not at all."""
        path, partial = self._items_path(key), self.folder / "partial" / f"{key}.part"
        lines = "".join(json.dumps(item) + "\n" for item in items)
        with _in_words(self.folder):
            for folder in (path.parent, partial.parent):
                folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(gzip.compress(lines.encode(), compresslevel=3, mtime=0))
            partial.replace(path)

    def items(self, key: str) -> list[Row]:
        """A trial's per-item logs; empty when none were kept."""
        path = self._items_path(key)
        if not path.exists():
            return []
        with _in_words(self.folder):
            packed = path.read_bytes()
            if not packed:
                raise EOFError(f"{path.name} is empty")
            text = gzip.decompress(packed)
        return [load_cell(line.decode(errors="replace")) for line in text.splitlines()]

    def _items_path(self, key: str) -> Path:
        return self.folder / "items" / key[:2] / f"{key}.jsonl.gz"
