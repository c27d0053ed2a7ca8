"""What the gates catch and what they admit, over a folder of cheats and one of honest candidates.

A cheat's first line names the gate that must find it, as in ``# caught by: causality``. It is a fault when a cheat is
missed or named by another gate, or an honest candidate is rejected; a folder that holds nothing is an error. The last
line says what an honest admission costs, drawing as many cases as the loop does. The files run in this process: meant
for files that you wrote, not for generated ones.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from pathlib import Path

import click
import torch

from asiarc.engineer.gates.admission import Admission, admit
from asiarc.engineer.workshop import GATE_EXAMPLES
from tests.rigs.cases import CASES, keep

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
D_MODEL, NUM_HEADS, SEED = 64, 2, 0


def examine(source: str) -> Admission:
    """The admission of a file at explore size."""
    return admit(source, d_model=D_MODEL, num_heads=NUM_HEADS, seed=SEED, max_examples=GATE_EXAMPLES)


def named_gate(source: str) -> str:
    """The gate in a cheat's first line."""
    return source.splitlines()[0].removeprefix("# caught by: ").strip()


def caught_by(admission: Admission) -> list[str]:
    """The gate that rejected; where none did, those that warned."""
    if admission.first_rejection:
        return [admission.first_rejection.gate]
    return [finding.gate for finding in admission.findings if finding.verdict == "warned"]


@click.command()
@click.argument("cheats", type=FOLDER, default="tests/gates/cheats")
@click.argument("honest", type=FOLDER, default="tests/gates/honest")
@CASES
def main(cheats: Path, honest: Path, kept: Path | None) -> None:
    """The cheats that must be caught, the honest candidates that must not, and the cost of an admission."""
    torch.set_num_threads(1)
    planted, others = (sorted(folder.glob("*.py")) for folder in (cheats, honest))
    if not (planted and others):
        empty = honest if planted else cheats
        raise click.UsageError(f"{empty} holds no .py file; run from a checkout's root, or name CHEATS and HONEST")
    faults, cpu_s, cases = 0, [], list[tuple[str, str, str]]()
    for path in planted:
        named, found = named_gate(path.read_text()), caught_by(examine(path.read_text()))
        caught = named in found
        faults += not caught
        cases.append((path.stem, named, named if caught else ", ".join(found) or "admitted"))
        click.echo(f"{'caught' if caught else 'MISSED':7} {path.stem:32} {named:20} {'' if caught else found}")
    for path in others:
        began_s = time.process_time()
        admission = examine(path.read_text())
        cpu_s.append(time.process_time() - began_s)
        rejection = admission.first_rejection
        faults += rejection is not None
        cases.append((path.stem, "admitted", rejection.gate if rejection else "admitted"))
        why = f"falsely by {rejection.gate}: {rejection.reason}" if rejection else f"{cpu_s[-1]:.1f} CPU-s"
        click.echo(f"{'REJECTED' if rejection else 'admitted':8} {path.stem:31} {why}")
    keep(kept, "cheats caught and honest candidates admitted by the gates", cases)
    click.echo(f"{len(planted)} cheats, {len(others)} honest candidates: {faults} faults{_cost(cpu_s)}")
    sys.exit(1 if faults else 0)


def _cost(cpu_s: list[float]) -> str:
    if not cpu_s:
        return ""
    late = sorted(cpu_s)[math.ceil(0.95 * len(cpu_s)) - 1]
    return f"; an admission takes {statistics.median(cpu_s):.2f} CPU-s, the 95th percentile {late:.2f}"
