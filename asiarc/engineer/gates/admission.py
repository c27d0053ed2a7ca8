"""Where a candidate is admitted or rejected: all gates in order of cost, and one row of findings for each."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from asiarc.core.candidate import address_of
from asiarc.core.errors import unknown_name
from asiarc.core.seeds import seed_of
from asiarc.engineer.gates.batch import BatchIndependence, Padding
from asiarc.engineer.gates.causality import Causality, FutureGradient, PrefixConsistency
from asiarc.engineer.gates.complexity import BackwardCost, Complexity, PeakMemory
from asiarc.engineer.gates.gate import Finding, Gate
from asiarc.engineer.gates.gradients import Finite, Gradients, InertParts
from asiarc.engineer.gates.guard import CandidateFailure, guarded
from asiarc.engineer.gates.parameters import Parameters
from asiarc.engineer.gates.pristine import Pristine
from asiarc.engineer.gates.shapes import Construction, DtypeLadder, Shapes
from asiarc.engineer.gates.side_effects import SideEffects
from asiarc.engineer.gates.state import Determinism, StateHandover, Statelessness
from asiarc.engineer.gates.static import Static
from asiarc.engineer.gates.subject import Subject

GATES: tuple[Gate, ...] = (
    Static(),
    Construction(),
    Shapes(),
    SideEffects(),
    Determinism(),
    Parameters(),
    InertParts(),
    Statelessness(),
    Finite(),
    Gradients(),
    DtypeLadder(),
    BatchIndependence(),
    Causality(),
    FutureGradient(),
    PrefixConsistency(),
    Padding(),
    StateHandover(),
    Complexity(),
    PeakMemory(),
    BackwardCost(),
)


@dataclass(frozen=True)
class Admission:
    """The verdict table of one candidate: a finding per gate, in order of cost."""

    findings: tuple[Finding, ...]

    @property
    def first_rejection(self) -> Finding | None:
        """The cheapest gate that rejected, or None."""
        return next((finding for finding in self.findings if finding.verdict == "rejected"), None)

    @property
    def admitted(self) -> bool:
        """No gate rejected."""
        return self.first_rejection is None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"admitted": self.admitted, "findings": [finding.as_dict() for finding in self.findings]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Admission:
        """The inverse of `as_dict`."""
        return cls(tuple(Finding(**finding) for finding in data["findings"]))


def admit(
    source: str,
    *,
    d_model: int,
    num_heads: int,
    seed: int,
    max_examples: int = 12,
    exempt: frozenset[str] = frozenset(),
    stop_at_first: bool = True,
) -> Admission:
    """Run every gate on a candidate (in the sandbox only).

    The same arguments give the same findings in every process, but for `cpu_s`. With `stop_at_first` the
    gates after the first rejection are "not run"; without it, all run that can: nothing runs on a source that
    may not be loaded.
    """
    names = {gate.name for gate in GATES}
    for name in exempt:
        assert name in names, unknown_name("gate", name, names)
    with _one_thread():
        return _admission(source, (d_model, num_heads), seed, max_examples, exempt, stop_at_first)


def _admission(
    source: str, size: tuple[int, int], seed: int, max_examples: int, exempt: frozenset[str], stop_at_first: bool
) -> Admission:
    pristine = Pristine()
    # No candidate knows what its gates draw: its own address is in the seed.
    drawn = seed_of("gates", address_of(source), seed)
    subject = Subject(source, *size, drawn, max_examples)
    findings: list[Finding] = []
    stopped = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for gate in GATES:
            if gate.name in exempt:
                finding = Finding(gate.name, "exempt")
            elif stopped:
                finding = Finding(gate.name, "not run")
            else:
                finding = _examine(gate, subject)
            findings.append(finding)
            if finding.verdict == "rejected":
                stopped = stop_at_first or gate.name in ("static", "construction")
    return Admission(_with_late_side_effects(findings, pristine))


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a sandbox's worker: sums in one order, and where cores are shared no operator that waits for a second one.

    A call of the gates is small; threads that wait for each other cost it tens of times what they save.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _examine(gate: Gate, subject: Subject) -> Finding:
    began_s = time.process_time()
    found = guarded(lambda: gate.check(subject))
    if isinstance(found, CandidateFailure):
        found = gate.finds(found.text)
    return (found or Finding(gate.name, "passed")).timed(time.process_time() - began_s)


def _with_late_side_effects(findings: list[Finding], pristine: Pristine) -> tuple[Finding, ...]:
    """The findings, with a rejection by side_effects if the gates after it saw the candidate alter torch."""
    late = SideEffects().altered(pristine)
    return tuple(late if late and finding.gate == SideEffects.name else finding for finding in findings)
