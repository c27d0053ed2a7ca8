"""Two workers timed in turn on one case, after both are right and before they are asked whether they still are."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from asiarc.speed.cases import Call, Case, error_of, exact, outcome
from asiarc.speed.machine import Watch
from asiarc.speed.paired import Ratio, best_of, paired_ratio
from asiarc.speed.worker import Worker

SLICE_S = 0.02
SETS = 3
"""Input sets that the timed calls rotate through."""


class Side:
    """What a worker does that is timed."""

    def __init__(self) -> None:
        self.sets: list[tuple[Any, ...]] = []
        self.turn = 0

    def take(self, case: Case, call: Call, sets: int) -> dict[str, float]:
        """Makes input sets to rotate through and runs a call on one; its errors."""
        made = [case.at(seed=case.seed + i) for i in range(sets)]
        self.sets = [(call, c.inputs(), c.upstream(), tuple(c.kernel.made)) for c in made]
        self.turn = 0
        found = error_of(outcome(*self.sets[0]), exact(made[0], self.sets[0][1]))
        gc.collect()
        gc.freeze()
        return found

    def go(self, calls: int, slower: float = 0.0) -> dict[str, Any]:
        """Runs forward and backward `calls` times; then keeps busy for `slower` times as long, for the self-test."""
        start = time.perf_counter()
        for _ in range(calls):
            outcome(*self.sets[self.turn % len(self.sets)])
            self.turn += 1
        end = start + (time.perf_counter() - start) * (1 + slower)
        while time.perf_counter() < end:
            pass
        return {}


def wrong(errors: Mapping[str, float], most: float) -> str:
    """The tensors whose error is above `most` (or not a number), as text; empty when all are right."""
    bad = {name: e for name, e in errors.items() if not (math.isfinite(e) and e <= most)}
    return ", ".join(f"{name} {e:.1e}" for name, e in bad.items())


@dataclass(frozen=True)
class Compared:
    """One case on both sides: a ratio, or why there is none (`red`: wrong results or no baseline, which fails).

    The ratio is to `limit` times the time of the base; `seconds` are those of the head's slices, a call.
    """

    case: Case
    ratio: Ratio
    red: str = ""
    base_ms: float | None = None
    head_ms: float | None = None
    limit: float = 1.0
    seconds: tuple[float, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the gate is red for this case."""
        return bool(self.red) or self.ratio.verdict == "slower"

    def line(self) -> str:
        """The case as text; no time where the results are red."""
        if self.red:
            return f"{self.case!s:42s} RED, not timed: {self.red}"
        return f"{self.case!s:42s} {self.times}{self.ratio}"

    def told(self) -> str:
        """Time over the other side's with its bounds, and what was allowed."""
        ratio, low, high = (self.limit * x for x in (self.ratio.ratio, self.ratio.low, self.ratio.high))
        return (
            f"takes {ratio:.3f} [{low:.3f}, {high:.3f}] times the other side's time, at most {self.limit:g}"
            f" ({self.times.strip()}, {self.ratio.pairs} pairs) at {self.case.place}"
        )

    @property
    def times(self) -> str:
        """Both times in words, where they were taken."""
        return "" if self.base_ms is None else f"{self.base_ms:8.2f} -> {self.head_ms:8.2f} ms  "

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "case": self.case.plain,
            "ratio": self.ratio.as_dict(),
            "red": self.red,
            "base_ms": self.base_ms,
            "head_ms": self.head_ms,
        }


def contest(
    case: Case,
    base: Worker,
    head: Worker,
    ready: Callable[[], tuple[str, str]],
    *,
    limit: float = 1.0,
    slower: float = 0.0,
) -> Compared:
    """One measurement: time of the head over `limit` times that of the base. `ready` prepares both sides, and says of
    each why it may not be timed; `slower` slows the head down, for the self-test."""

    def red() -> str:
        return "; ".join(f"{name}: {why}" for name, why in zip(("baseline", "here"), ready(), strict=True) if why)

    if why := red():
        return Compared(case, Ratio.nothing("red"), why)
    calls = max(1, round(SLICE_S / statistics.median(base.slice_s(1) for _ in range(5))))
    times: tuple[list[float], list[float]] = ([], [])

    def side(worker: Worker, kept: list[float], factor: float) -> float:
        kept.append(best_of(lambda: worker.slice_s(calls, factor)))
        return kept[-1]

    for worker in (base, head):
        worker.slice_s(calls)
    watch = Watch(lambda: base.cpu_s() + head.cpu_s())
    ratio = paired_ratio(lambda: limit * side(base, times[0], 0.0), lambda: side(head, times[1], slower))
    if reason := watch.disturbance():
        return Compared(case, Ratio.nothing(reason, ratio.pairs))
    if why := red():
        return Compared(case, Ratio.nothing("red"), f"after timing: {why}")
    base_ms, head_ms = (statistics.median(t) / calls * 1e3 for t in times)
    return Compared(case, ratio, "", base_ms, head_ms, limit, tuple(t / calls for t in times[1]))
