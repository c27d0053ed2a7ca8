"""A run as tables that anything reads: `rows.parquet`, one row a trial, and `cases.parquet`, one row a case.

Both are functions of the extract beside them. A row of a trial holds the program that was trained, and what it scored
on every item: 0 or 1, or the log-probability of a document in nats, as the extract keeps it (in tenths, their sum exact
to half of one). A case is one of those that a rate counts: what the gates were asked and what they said, and what
rigs planted (cheats, attacks, mutants, faults), where their cases were given.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from asiarc.archive import extract
from asiarc.core.errors import EvidenceError
from asiarc.models.baselines import PANEL_NAMES

Row = dict[str, Any]
TRIALS, CASES = "rows.parquet", "cases.parquet"
GIVEN = "cases.jsonl"  # those that a rig kept, beside an extract
OF_A_CASE = ("rate", "case", "expected", "found")
TEXTS = (
    "key", "run", "campaign", "tier", "stage", "mixer", "role", "author", "address", "source_sha256", "source",
    "origins", "task", "seed", "outcome", "gate", "reason", "metric", "recipe", "device", "layers", "created_at",
)  # fmt: skip
COUNTS = ("number", "rung", "steps", "looks", "parameters", "state_bytes", "tokens")
MEMORY = ("peak_memory_bytes", "gpu_memory_bytes")
NUMBERS = ("learning_rate", "value", "flops_per_token", "train_s", "wall_s", "cpu_s", "energy_j", "peak_flops_per_s")


def write(folder: Path) -> None:
    """Write both tables from the extract in `folder`; a file that holds the same already is left as it is."""
    import pyarrow as pa  # type: ignore[import-untyped]

    found = _Tables(folder / "extract.jsonl.gz")
    kinds = {pa.string(): TEXTS, pa.int64(): (*COUNTS, *MEMORY), pa.float64(): NUMBERS}
    kinds |= {pa.list_(pa.string()): ["also"], pa.list_(pa.float32()): ["items"], pa.list_(pa.int32()): ["item_bytes"]}
    columns = [(name, kind) for kind, names in kinds.items() for name in names]
    _save(folder / TRIALS, pa.Table.from_pylist(list(found.trials()), pa.schema(columns)))
    columns = [(name, pa.string()) for name in OF_A_CASE]
    _save(folder / CASES, pa.Table.from_pylist([*found.cases(), *_given(folder / GIVEN)], pa.schema(columns)))


def _save(path: Path, table: Any) -> None:
    """Keep a table, unless the file holds it: another version of pyarrow may write the same in other bytes."""
    from pyarrow import ArrowException, parquet

    with suppress(ArrowException, OSError):
        if parquet.read_table(path).equals(table):
            return
    parquet.write_table(table, path, compression="zstd", row_group_size=max(1, len(table)))


def give(folder: Path, files: Sequence[Path]) -> None:
    """Lay the cases that rigs kept in `files` into `folder`, in the place of those that lay there.

    Raises `EvidenceError` where a line is no case.
    """
    (folder / GIVEN).unlink(missing_ok=True)
    if files:
        cases = [case for file in files for case in _given(file)]
        text = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)
        (folder / GIVEN).write_text(text, encoding="utf-8")


def _given(file: Path) -> list[Row]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    try:
        return [{name: str(json.loads(line)[name]) for name in OF_A_CASE} for line in lines]
    except (ValueError, LookupError, TypeError) as error:
        raise EvidenceError(
            f"{file} holds a line that is no case ({error!r}); each has {', '.join(OF_A_CASE)}, as a rig's --cases "
            "writes them"
        ) from error


class _Tables:
    """The rows of an extract, joined."""

    def __init__(self, path: Path) -> None:
        self.rows: dict[str, list[Row]] = defaultdict(list)
        for table, row in extract.each(path):
            self.rows[table].append(row)
        self.runs = {row["run"]: row | {"identity": json.loads(row["identity"])} for row in self.rows["runs"]}
        self.candidates = {row["address"]: row for row in self.rows["candidates"]}
        self.proposals = {(row["run"], row["address"]): row for row in reversed(self.rows["proposals"])}
        self.items = {row["trial"]: row for row in self.rows["items"]}
        self.uses: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in self.rows["uses"]:
            self.uses[row["trial"]].append((row["run"], row["stage"]))

    def trials(self) -> Iterator[Row]:
        """A row a trial, under the run and stage that it was first used in; `also` lists the others."""
        looks = self._looks()
        for trial in self.rows["trials"]:
            (run, stage), *others = self.uses[trial["key"]]
            identity, proposal = self.runs[run]["identity"], self.proposals.get((run, trial["address"]), {})
            name, role = self._named(identity, trial["address"], proposal)
            rungs = identity.get("plans", {}).get(stage, {}).get("rungs", [])
            candidate, items = self.candidates.get(trial["address"], {}), self.items.get(trial["key"], {})
            yield {
                **{key: trial.get(key) for key in (*TEXTS, *COUNTS, *MEMORY, *NUMBERS)},
                **{key: self.runs[run][key] for key in ("run", "campaign", "tier")},
                "stage": stage, "mixer": name, "role": role,
                "author": proposal.get("author") or "", "origins": proposal.get("origins"),
                "number": proposal.get("number"), "source": candidate.get("source"),
                "source_sha256": hashlib.sha256(candidate.get("source", "").encode()).hexdigest(),
                "rung": rungs.index(trial["steps"]) if trial["steps"] in rungs else None,
                "looks": looks[run, stage, trial["task"], trial["steps"]], "device": identity.get("device"),
                "also": [f"{run}/{stage}" for run, stage in others],
                "items": items.get("values"), "item_bytes": items.get("bytes"),
            }  # fmt: skip

    def _looks(self) -> Mapping[tuple[str, str, str, int], int]:
        """How many mixers were scored in a stage on a task after some steps: what a best one is the best of."""
        seen = defaultdict[Any, set[str]](set)
        for trial in self.rows["trials"]:
            scored = {trial["address"]} if trial["outcome"] == "scored" else set()
            for run, stage in self.uses[trial["key"]]:
                seen[run, stage, trial["task"], trial["steps"]] |= scored
        return {place: len(addresses) for place, addresses in seen.items()}

    def _named(self, identity: Row, address: str, proposal: Row) -> tuple[str, str]:
        """What a mixer is called in a run, and what it is there."""
        if proposal:
            return proposal["name"], "candidate"
        kinds = {"baseline": identity.get("baselines", {}), "control": identity.get("controls", {}),
                 "mixer": identity.get("study", {}).get("mixers", {})}  # fmt: skip
        named = ((name, kind) for kind, names in kinds.items() for name, one in names.items() if one == address)
        return next(named, (self.candidates.get(address, {}).get("name", address), "mixer"))

    def cases(self) -> Iterator[Row]:
        """What the gates were asked, by run: proposals, and mixers of studies. Published mixers are expected to be let
        in; of others nothing is."""
        names = {(row["run"], row["number"]): row["name"] for row in self.rows["proposals"]}
        for row in self.rows["results"]:
            name = f"{row['number']} {names[row['run'], row['number']]}"
            yield _case(f"proposals of {self._name(row['run'])}", name, "", row)
        for row in self.rows["stages"]:
            for name, outcome in json.loads(row["result"]).get("outcomes", {}).items():
                expected = "scored" if name in PANEL_NAMES else ""
                yield _case(f"mixers of {self._name(row['run'])}", name, expected, outcome)

    def _name(self, run: str) -> str:
        return f"{self.runs[run]['campaign']}@{run}"


def _case(rate: str, case: str, expected: str, ending: Row) -> Row:
    kind = ending.get("kind") or ending["outcome"]
    return {"rate": rate, "case": case, "expected": expected, "found": f"{kind} {ending.get('gate') or ''}".strip()}
