"""What an audit found: one row a program, totals, a figure, and the command that prints them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from asiarc.audit import PROPERTIES
from asiarc.audit.targets import Program, read
from asiarc.core.errors import CandidateError
from asiarc.execution import Executor, Job, Limits, LocalExecutor, Result

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
LIMITS = Limits(wall_s=300, cpu_s=180, memory_bytes=4 << 30)
PRELOAD = ("torch", "asiarc.audit.released")

Row = dict[str, Any]


def examine_candidate(payload: dict[str, Any]) -> dict[str, Any]:
    """A candidate's gates as properties (in the sandbox only)."""
    from asiarc.engineer.gates import admit

    findings = admit(payload["program"], d_model=64, num_heads=2, seed=0, stop_at_first=False).findings
    verdicts = {finding.gate: finding.verdict for finding in findings}
    answers = {"passed": True, "rejected": False}
    properties: dict[str, bool | None] = {}
    for name, gates in GATES_OF.items():
        found = [answers.get(verdicts[gate]) for gate in gates]
        properties[name] = False if False in found else None if None in found else True
    reasons = [f"{finding.gate}: {finding.reason}" for finding in findings if finding.verdict == "rejected"]
    dead = [finding.reason for finding in findings if finding.gate == "gradients" and finding.reason]
    told = {
        name: next((reason for reason in reasons if reason.split(":")[0] in gates), "; ".join(reasons))
        for name, gates in GATES_OF.items()
        if properties[name] is not True
    }
    return {"properties": properties, "reasons": told, "dead_parameters": dead, "failure": "; ".join(reasons)}


def audit_rows(
    programs: Sequence[Program], executor: Executor, progress: Callable[[int, Row], None] | None = None
) -> list[Row]:
    """One row a program, in order: what it answers, or why there is no answer."""
    jobs = [Job(EXAMINERS[p.form], p.payload, _limits(p), label=p.name) for p in programs]

    def on_result(index: int, result: Result) -> None:
        if progress:
            progress(index, _row(programs[index], result))

    return [_row(p, result) for p, result in zip(programs, executor.run(jobs, on_result), strict=True)]


def _limits(program: Program) -> Limits:
    """A model's weights are held in float64, beside those that were read, and take time by their size."""
    folder = program.payload.get("folder")
    if folder is None:
        return LIMITS
    weights = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    seconds = 300 + weights / 1e6
    return Limits(wall_s=4 * seconds, cpu_s=seconds, memory_bytes=(4 << 30) + 8 * weights)


def _row(program: Program, result: Result) -> Row:
    """Raises `CandidateError` where what was named is not there: no program is to blame."""
    why = f"{result.status}: {result.reason}"
    value = result.value or {
        "properties": dict.fromkeys(PROPERTIES),
        "reasons": dict.fromkeys(PROPERTIES, why),
        "failure": why,
    }
    if "unusable" in value:
        raise CandidateError(value["unusable"])
    recorded = program.recorded_parameters
    return {
        "index": program.index,
        "name": program.name,
        **({"name_new": program.public_name} if program.public_name else {}),
        "parameters_recorded": None if recorded is None or not math.isfinite(recorded) else round(recorded * 1e6),
        "cpu_s": round(result.cpu_s, 2),
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
    """The rows as a table for the terminal."""
    drawn = Table(
        "index", "name", *(name.replace("_", " ") for name in PROPERTIES), "dead", "parameters (recorded)", "cost"
    )
    marks = {True: "yes", False: "[red]NO[/red]", None: "-"}
    for row in rows:
        answers = [marks[row["properties"][name]] for name in PROPERTIES]
        dead = str(len(row.get("dead_parameters", [])))
        cost = f"{row['cost']:.2f}" if row.get("cost") else "-"
        drawn.add_row(str(row["index"]), row.get("name_new", row["name"]), *answers, dead, _sizes(row), cost)
    counts = totals(rows)
    drawn.add_section()
    drawn.add_row("", "broken", *(str(counts[name]["false"]) for name in PROPERTIES))
    return drawn


def _sizes(row: Row) -> str:
    both = (row.get("parameters"), row.get("parameters_recorded"))
    actual, recorded = ("-" if size is None else f"{size / 1e6:.1f}M" for size in both)
    return f"{actual} ({recorded})"


def _preloaded(programs: Sequence[Program]) -> tuple[str, ...]:
    """What each worker imports once: transformers only where it will be needed."""
    wanted = any(p.form == "exported" or "transformers" in p.payload.get("program", "") for p in programs)
    return (*PRELOAD, "transformers.cache_utils") if wanted else PRELOAD


def _found(row: Row) -> str:
    """What is told of a row while the audit runs."""
    by_answer = {
        answer: [name for name, holds in row["properties"].items() if holds is answer] for answer in (False, None)
    }
    if len(by_answer[None]) >= len(PROPERTIES) - 1:
        return str(row["failure"])
    unasked = f"; not asked: {', '.join(by_answer[None])}" if by_answer[None] else ""
    return (", ".join(by_answer[False]) or "nothing broken") + unasked


@click.command()
@click.argument("target", metavar="PATH")
@click.option("--adapter", metavar="MODULE:FUNCTION", help="builds a module:Class: (class, width, heads) -> nn.Module")
@click.option("--json", "as_json", is_flag=True, help="rows and totals as JSON on stdout; progress goes to stderr")
@click.option("--figure", "drawing", type=click.Path(path_type=Path), help="draw the totals (.svg, .png, .pdf)")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="programs at once")
def audit(target: str, adapter: str | None, as_json: bool, drawing: Path | None, workers: int) -> None:
    """Examine programs, all of them in the sandbox.

    PATH is a candidate file, a folder of them, the release of ASI-Arch (data/106.json), a model's folder (config.json
    and .safetensors), or a class named as module:Class.

    One row a program and one column a property: yes, NO, or - where it could not be asked; --json says why.
    `parameters` is counted in the configuration that the records call 340M, `cost` is FLOPs a token relative to
    DeltaNet.
    """
    programs = read(target, adapter)
    done = 0

    def progress(index: int, row: Row) -> None:
        nonlocal done
        done += 1
        name = row.get("name_new", row["name"])
        click.echo(f"[{done}/{len(programs)}] {name}: {_found(row)}"[:160], err=True)

    readable = [program.readable for program in programs if program.readable]
    with LocalExecutor(workers, _preloaded(programs), readable=readable) as executor:
        rows = audit_rows(programs, executor, progress)
    if drawing:
        figure(rows, drawing)
    if as_json:
        click.echo(json.dumps({"rows": rows, "totals": totals(rows)}, indent=1, allow_nan=False))
    else:
        Console(width=None if sys.stdout.isatty() else 200).print(table(rows))
