"""``python -m asiarc.engineer.gates [CHEATS HONEST]``: what the gates catch and what they admit.

A cheat's first line names the gate that must find it, as in ``# caught by: causality``. The exit status is 1
when a cheat is missed or named by another gate, or an honest candidate is rejected. The last line says what an honest
admission costs, drawing as many cases as the loop does. The files run in this process: meant for files that you wrote,
not for generated ones.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from pathlib import Path

import torch

from asiarc.engineer.gates.admission import Admission, admit
from asiarc.engineer.workshop import GATE_EXAMPLES

FOLDERS = ("tests/gates/cheats", "tests/gates/honest")
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


def main(arguments: list[str]) -> int:
    """Prints a line for each file, then the counts."""
    torch.set_num_threads(1)
    cheats, honest = (sorted(Path(folder).glob("*.py")) for folder in (arguments or FOLDERS))
    faults = 0
    for path in cheats:
        named, found = named_gate(path.read_text()), caught_by(examine(path.read_text()))
        caught = named in found
        faults += not caught
        _say(f"{'caught' if caught else 'MISSED':7} {path.stem:32} {named:20} {'' if caught else found}")
    cpu_s = []
    for path in honest:
        began_s = time.process_time()
        admission = examine(path.read_text())
        cpu_s.append(time.process_time() - began_s)
        rejection = admission.first_rejection
        faults += rejection is not None
        why = f"falsely by {rejection.gate}: {rejection.reason}" if rejection else f"{cpu_s[-1]:.1f} CPU-s"
        _say(f"{'REJECTED' if rejection else 'admitted':8} {path.stem:31} {why}")
    _say(f"{len(cheats)} cheats, {len(honest)} honest candidates: {faults} faults{_cost(cpu_s)}")
    return 1 if faults else 0


def _cost(cpu_s: list[float]) -> str:
    if not cpu_s:
        return ""
    late = sorted(cpu_s)[math.ceil(0.95 * len(cpu_s)) - 1]
    return f"; an admission takes {statistics.median(cpu_s):.2f} CPU-s, the 95th percentile {late:.2f}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
