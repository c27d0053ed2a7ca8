"""What an audit found: one row a program with its verdict, totals, and a figure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from rich.table import Column, Table
from rich.text import Text

from asiarc.audit import PROPERTIES
from asiarc.audit.targets import Program
from asiarc.core.errors import CandidateError
from asiarc.core.plain import plain
from asiarc.engineer.returned import Shape, checked
from asiarc.execution import Executor, Job, Limits, Result

# The gates that answer the same question of a candidate file.
GATES_OF = {
    "causal": ("causality", "future_gradient"),
    "independent_of_total_length": ("prefix_consistency",),
    "stateless_in_eval": ("statelessness", "determinism"),
    "batch_independent": ("batch_independence",),
    "batch_independent_with_mask": ("padding",),
    "cached_decoding": ("state_handover",),
    "float32": ("shapes", "finite"),
}
EXAMINERS = {
    "release": "asiarc.audit.released:examine",
    "candidate": "asiarc.audit.table:examine_candidate",
    "named": "asiarc.audit.named:examine",
    "exported": "asiarc.audit.named:examine_exported",
}
LIMITS = Limits(wall_s=240, cpu_s=60, memory_bytes=4 << 30)
PRELOAD = ("torch", "asiarc.audit.released")

Row = dict[str, Any]


class ExaminationShape(Shape, extra="allow"):
    """What an examiner returns: every property held, broken or not asked, and why."""

    properties: dict[str, bool | None]
    reasons: dict[str, str]
    failure: str
    gate: str = ""
    reason: str = ""
    warnings: list[str] = Field(default=[])
    dead_parameters: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if set(self.properties) != set(PROPERTIES):
            raise ValueError("an answer to every property")
        return self


def examine_candidate(payload: dict[str, Any]) -> dict[str, Any]:
    """A candidate before the gates, up to the first that rejects it (in the sandbox only)."""
    from asiarc.engineer.gates import admit

    admission = admit(payload["program"], d_model=64, num_heads=2, seed=0)
    findings, rejection = admission.findings, admission.first_rejection
    answers = {finding.gate: {"passed": True, "rejected": False}.get(finding.verdict) for finding in findings}
    properties: dict[str, bool | None] = {}
    for name, gates in GATES_OF.items():
        found = [answers[gate] for gate in gates]
        properties[name] = False if False in found else None if None in found else True
    told = {finding.gate: finding.reason for finding in findings if finding.reason}
    return {
        "gate": rejection.gate if rejection else "",
        "reason": rejection.reason if rejection else "",
        "warnings": [f"{finding.gate}: {finding.reason}" for finding in findings if finding.verdict == "warned"],
        "properties": properties,
        "reasons": {n: told[gate] for n, gates in GATES_OF.items() for gate in gates if gate in told},
        "dead_parameters": [told["gradients"]] if "gradients" in told else [],
        "failure": f"{rejection.gate}: {rejection.reason}" if rejection else "",
    }


def _judged(found: Row) -> Row:
    """A row of properties as the gates would put it: the first broken one rejects, what could not be asked warns."""
    properties, reasons = found["properties"], found["reasons"]
    unasked = [name for name in PROPERTIES if properties[name] is None]
    broken = [name for name in PROPERTIES if properties[name] is False]
    dead = found.get("dead_parameters")
    said = {name: f"{GATES_OF[name][0]}: {reasons.get(name, 'not held')}" for name in [*broken, *unasked]}
    if len(unasked) >= len(PROPERTIES) - 1:
        return {"gate": "construction", "reason": found["failure"], "warnings": []}
    return {
        "gate": GATES_OF[broken[0]][0] if broken else "",
        "reason": reasons.get(broken[0], "") if broken else "",
        "also": [said[name] for name in broken[1:]],
        "warnings": [said[name] for name in unasked]
        + ([f"gradients: no gradient reaches {', '.join(dead)}"] if dead else []),
    }


def audit_rows(
    programs: Sequence[Program], executor: Executor, progress: Callable[[int, Row], None] | None = None
) -> list[Row]:
    """One row a program, in order: what it answers, or why there is no answer."""
    asked = [(i, p) for i, p in enumerate(programs) if not p.failure]
    jobs = [Job(EXAMINERS[p.form], p.payload, _limits(p), label=p.name) for _, p in asked]
    rows = {i: _row(p, None) for i, p in enumerate(programs) if p.failure}

    def on_result(index: int, result: Result) -> None:
        if progress:
            progress(index, _row(asked[index][1], result))

    rows |= {i: _row(p, result) for (i, p), result in zip(asked, executor.run(jobs, on_result), strict=True)}
    return [rows[i] for i in range(len(programs))]


def _limits(program: Program) -> Limits:
    """A model's weights are held in float64, beside those that were read, and take time by their size."""
    folder = program.payload.get("folder")
    if folder is None:
        return LIMITS
    weights = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    seconds = 300 + weights / 1e6
    return Limits(wall_s=4 * seconds, cpu_s=seconds, memory_bytes=(4 << 30) + 8 * weights)


def _row(program: Program, result: Result | None) -> Row:
    """Raises `CandidateError` where what was named is not there: no program is to blame."""
    if result and "unusable" in (result.value or {}):
        raise CandidateError(plain(str((result.value or {})["unusable"])))
    result = result and checked(result, ExaminationShape)
    why, gate = (f"{result.status}: {result.reason}", result.status) if result else (program.failure, "static")
    value = (result and result.value) or {
        "properties": dict.fromkeys(PROPERTIES),
        "reasons": dict.fromkeys(PROPERTIES, why),
        "failure": why,
        "gate": gate,
        "reason": why,
        "warnings": [],
    }
    value = value if "gate" in value else {**value, **_judged(value)}
    recorded = program.recorded_parameters
    return {
        "index": program.index,
        "name": program.name,
        **({"name_new": program.public_name} if program.public_name else {}),
        "verdict": "rejected" if value["gate"] else "admitted",
        "parameters_recorded": None if recorded is None or not math.isfinite(recorded) else round(recorded * 1e6),
        "cpu_s": round(result.cpu_s, 2) if result else 0.0,
        **value,
    }


def totals(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """For each property how many programs hold it, break it, and cannot be asked."""
    answers = {"true": True, "false": False, "null": None}
    return {
        name: {word: sum(row["properties"][name] is answer for row in rows) for word, answer in answers.items()}
        for name in PROPERTIES
    }


def figure(rows: Sequence[Row], path: Path) -> None:
    """Bars of the totals, as SVG, PNG or PDF by the path's suffix."""
    from matplotlib.figure import Figure

    counts = totals(rows)
    drawing = Figure(figsize=(8, 3.2), layout="constrained")
    axes = drawing.subplots()
    left = [0] * len(PROPERTIES)
    for word, label, colour in (
        ("true", "holds", "#3b7d4f"),
        ("false", "broken", "#b5483a"),
        ("null", "cannot be asked", "#bbbbbb"),
    ):
        widths = [counts[name][word] for name in PROPERTIES]
        axes.barh([name.replace("_", " ") for name in PROPERTIES], widths, left=left, label=label, color=colour)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(f"programs of {len(rows)}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    drawing.savefig(path)


def table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal: a verdict, a name, and what was found, wrapped to the width that there is."""
    drawn = Table("verdict", "program", Column("what was found", ratio=1), box=None, expand=True)
    for row in rows:
        colour = "red" if row["gate"] else "yellow" if row["warnings"] else "green"
        found = [f"{row['gate']}: {row['reason']}"] if row["gate"] else []
        found += [*row.get("also", ()), *(f"warning: {warning}" for warning in row["warnings"])]
        found += (
            [f"{_sizes(row)} parameters (recorded), {row['cost']:.2f} x DeltaNet's FLOPs"] if row.get("cost") else []
        )
        name = Text(name_of(row), overflow="fold")
        drawn.add_row(Text(row["verdict"], style=colour), name, Text("\n".join(map(_plain, found)), overflow="fold"))
    return drawn


def name_of(row: Row) -> str:
    """What a program is called, fit to be printed."""
    return _plain(str(row.get("name_new") or row["name"]))


def _plain(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def summary(rows: Sequence[Row]) -> str:
    """How many were admitted, and how many each gate rejected."""
    gates = Counter(row["gate"] for row in rows)
    admitted = gates.pop("", 0)
    by_gate = ", ".join(f"{gate} {n}" for gate, n in gates.most_common())
    return f"{len(rows)} programs: {admitted} admitted, {len(rows) - admitted} rejected" + (
        f" ({by_gate})" if gates else ""
    )


def _sizes(row: Row) -> str:
    both = (row.get("parameters"), row.get("parameters_recorded"))
    actual, recorded = ("-" if size is None else f"{size / 1e6:.1f}M" for size in both)
    return f"{actual} ({recorded})"


def preloaded(programs: Sequence[Program]) -> tuple[str, ...]:
    """What each worker imports once: transformers only where it will be needed."""
    wanted = any(p.form == "exported" or "transformers" in p.payload.get("program", "") for p in programs)
    return (*PRELOAD, "transformers.cache_utils") if wanted else PRELOAD
