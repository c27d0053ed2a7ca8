"""Ratios of two times taken in turn, and the rule that calls one slower.

A pair is one slice of each side, the order swapped from pair to pair, so that whatever drifts hits both. The
statistic is the median of log(b/a); its bounds are order statistics (a sign test), which hold whatever the noise
looks like.

The rule tests two margins at once. "slower": the lower bound is above +2 %. "ok": the upper bound is below +5 %.
Neither: more pairs are taken, up to 256, and then the answer is "not measured". A slowdown counts only when a second
measurement with fresh processes says so as well. Asking for a median above +5 % instead would let half of all 5 %
slowdowns through however many pairs there are.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

Verdict = Literal["slower", "ok", "not measured"]
Slice = Callable[[], float]
T = TypeVar("T")

ALLOWED, ALARM = 0.02, 0.05
LOOKS = (16, 32, 64, 128, 256)
"""Numbers of pairs after which the rule is asked."""
LEVEL = 0.998
"""One-sided confidence of each bound at each look: five looks stay within 1 % together."""
BEST_OF = 3
"""A slice is timed so often and the least time counts: disturbances only ever add."""


@dataclass(frozen=True)
class Ratio:
    """Time of b over time of a: median and its bounds; `reason` says why nothing was measured."""

    ratio: float
    low: float
    high: float
    pairs: int
    verdict: Verdict
    reason: str = ""

    @classmethod
    def of(cls, logs: Sequence[float]) -> Ratio:
        """The rule, asked once."""
        middle, low, high = median_interval(logs, 1 - 2 * (1 - LEVEL))
        if low > math.log1p(ALLOWED):
            verdict: Verdict = "slower"
        else:
            verdict = "ok" if high < math.log1p(ALARM) else "not measured"
        reason = "" if verdict != "not measured" else f"undecided after {len(logs)} pairs: too noisy"
        return cls(math.exp(middle), math.exp(low), math.exp(high), len(logs), verdict, reason)

    @classmethod
    def nothing(cls, reason: str, pairs: int = 0) -> Ratio:
        """No number at all."""
        return cls(math.nan, math.nan, math.nan, pairs, "not measured", reason)

    def __str__(self) -> str:
        if math.isnan(self.ratio):
            return f"not measured: {self.reason}"
        text = f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.pairs} {self.verdict}"
        return text + (f": {self.reason}" if self.reason else "")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; a number that is not there is None."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Median and its two-sided interval by order statistics; the range where there are too few values for one."""
    ordered, n = sorted(values), len(values)
    tail, outside = 2.0 * 0.5**n, 0
    while outside < (n - 1) // 2:
        tail += 2.0 * math.comb(n, outside + 1) * 0.5**n
        if tail > 1 - level:
            break
        outside += 1
    return statistics.median(ordered), ordered[outside], ordered[n - 1 - outside]


def paired_ratio(a: Slice, b: Slice, *, looks: Sequence[int] = LOOKS) -> Ratio:
    """Time of `b` over time of `a`, with interval and verdict.

    Each call of `a` or `b` does one slice of work and returns its seconds by a clock that the work cannot reach. A time
    that is not finite and positive ends the measurement without a number.
    """
    logs: list[float] = []
    for look in looks:
        while len(logs) < look:
            if len(logs) % 2:
                t_b, t_a = b(), a()
            else:
                t_a, t_b = a(), b()
            if not (0 < t_a < math.inf and 0 < t_b < math.inf):
                return Ratio.nothing(f"a slice took {t_a} s and {t_b} s", len(logs))
            logs.append(math.log(t_b / t_a))
        result = Ratio.of(logs)
        if result.verdict != "not measured":
            break
    return result


def confirmed(measure: Callable[[], T], ratio: Callable[[T], Ratio]) -> T:
    """Measure; where `ratio` of that is "slower", measure again and let the second answer count.

    `measure` starts fresh processes each time: two of the same code differ by what their memory happens to look like.
    """
    first = measure()
    return measure() if ratio(first).verdict == "slower" else first


def best_of(once: Slice) -> float:
    """The least of a few timings of one slice."""
    return min(once() for _ in range(BEST_OF))


def timed(work: Callable[[], object]) -> Slice:
    """A slice that does `work` in this process, by the wall clock; for code that is trusted not to touch it."""
    clock = time.perf_counter

    def once() -> float:
        start = clock()
        work()
        return clock() - start

    return lambda: best_of(once)
