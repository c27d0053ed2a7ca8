"""How a trial ends: a closed set, of which only `scored` carries numbers.

A missing number is never 0, 0.5 or True: it is an outcome of another kind.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from asiarc.core.plain import plain

Kind = Literal["scored", "rejected", "crashed", "timed_out", "out_of_memory", "unscored"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class DivergedError(Exception):
    """The loss left the numbers, or rose far above where it started; the trial ends with that as its outcome."""


@dataclass(frozen=True)
class Outcome:
    """One of the six endings. `gate` is set for `rejected` only; `reason` for everything but `scored`.

    `unscored` means that the infrastructure failed, never that the candidate did.
    """

    kind: Kind
    reason: str = ""
    gate: str = ""

    def __post_init__(self) -> None:
        for name in ("reason", "gate"):  # either may quote a candidate
            object.__setattr__(self, name, plain(getattr(self, name)))
        assert self.kind in KINDS, self.kind
        assert (self.kind == "rejected") == bool(self.gate), "a gate is named exactly when it rejects"
        assert (self.kind == "scored") != bool(self.reason), "every ending but scored says why"

    @property
    def is_final(self) -> bool:
        """Whether asking again could not change it: infrastructure failures are tried again on the next run."""
        return self.kind != "unscored"

    def __str__(self) -> str:
        if self.kind == "scored":
            return "scored"
        return f"{self.kind}({self.gate + ': ' if self.gate else ''}{self.reason})"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the archive."""
        return asdict(self)


SCORED = Outcome("scored")
