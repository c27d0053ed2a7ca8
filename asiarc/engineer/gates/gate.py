"""What a gate is, and what it finds.

A gate guards one property. It is an object with a name, a cost class, a severity and a docstring that says
what it guards and what it cannot see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from hypothesis.strategies import SearchStrategy

from asiarc.core.drawing import smallest_failing
from asiarc.core.seeds import seed_of
from asiarc.engineer.gates.guard import CandidateFailure, guarded

if TYPE_CHECKING:
    from asiarc.engineer.gates.subject import Subject

Verdict = Literal["passed", "rejected", "warned", "not run", "exempt"]
Severity = Literal["reject", "warn"]


class Cost(IntEnum):
    """What a gate has to run, from cheap to dear; `GATES` is ordered by it."""

    STATIC = 0
    CONSTRUCT = 1
    FORWARD = 2
    BACKWARD = 3
    PROPERTY = 4
    COUNTED = 5


@dataclass(frozen=True)
class Finding:
    """One row of the verdict table: a gate, its verdict and, where it did not pass, a reason that can be acted on.

    `example` is the smallest failing case found (shape, cut, seed …), `cpu_s` the gate's CPU-seconds.
    """

    gate: str
    verdict: Verdict
    reason: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)
    expected: str = ""
    actual: str = ""
    cpu_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `Finding(**d)` reads it back."""
        return {**asdict(self), "example": dict(self.example)}

    def timed(self, cpu_s: float) -> Finding:
        """The same finding with the gate's CPU-seconds."""
        return replace(self, cpu_s=cpu_s)


class Gate(ABC):
    """A check that admits or rejects. Severity "warn" informs the researcher and never rejects."""

    name: ClassVar[str]
    cost: ClassVar[Cost]
    severity: ClassVar[Severity] = "reject"

    @abstractmethod
    def check(self, subject: Subject) -> Finding | None:
        """None when the candidate passes, else what was found."""

    def finds(
        self, reason: str, *, example: Mapping[str, Any] | None = None, expected: str = "", actual: str = ""
    ) -> Finding:
        """A finding against the candidate, with the verdict that this gate's severity calls for."""
        verdict: Verdict = "rejected" if self.severity == "reject" else "warned"
        return Finding(self.name, verdict, reason, example or {}, expected, actual)


class Violation(NamedTuple):
    """How one case breaks a property."""

    reason: str
    expected: str = ""
    actual: str = ""
    # What the case leaves open, e.g. the one cut of many that failed.
    where: Mapping[str, Any] = MappingProxyType({})


CaseT = TypeVar("CaseT", bound=tuple)


class PropertyGate(Gate, Generic[CaseT]):
    """A property over cases (NamedTuples): fixed ones that history says to try, then cases that Hypothesis draws.

    A failing case is shrunk; the smallest one goes into the finding.
    """

    cost = Cost.PROPERTY

    @abstractmethod
    def cases(self, subject: Subject) -> SearchStrategy[CaseT]:
        """What Hypothesis draws from; the first shrinks to the smallest."""

    def known(self, subject: Subject) -> tuple[CaseT, ...]:
        """Cases that are always tried first."""
        return ()

    @abstractmethod
    def violation(self, subject: Subject, case: CaseT) -> Violation | None:
        """How the case breaks the property, or None. Must depend on subject and case alone."""

    def elsewhere(self, subject: Subject) -> tuple[CaseT, ...]:
        """Cases that are tried at each of the other sizes of recipes."""
        return ()

    def check(self, subject: Subject) -> Finding | None:
        """Tries the known cases, then draws, shrinks and reports; last of all the other sizes."""
        failing = smallest_failing(
            self.cases(subject),
            lambda case: self._asked(subject, case),
            known=self.known(subject),
            seed=seed_of("gates", self.name, subject.seed),
            max_examples=subject.max_examples,
        )
        if failing is not None:
            return self._broken(subject, *failing)
        for other in subject.elsewhere:
            for case in self.elsewhere(other):
                if violation := self._asked(other, case):
                    return self._broken(other, case, violation)
        return None

    def _asked(self, subject: Subject, case: CaseT) -> Violation | None:
        found = guarded(lambda: self.violation(subject, case))
        return Violation(found.text) if isinstance(found, CandidateFailure) else found

    def _broken(self, subject: Subject, case: CaseT, violation: Violation) -> Finding:
        size = {"d_model": subject.d_model, "num_heads": subject.num_heads, "weights_seed": subject.seed}
        example = {**case._asdict(), **violation.where, **size}  # type: ignore[attr-defined]
        return self.finds(violation.reason, example=example, expected=violation.expected, actual=violation.actual)
