"""Transfer: does a rank at one rung or stage say anything about the rank at the next?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from asiarc.core.errors import EvidenceError

_EXACT_UP_TO = 7  # 5,040 orders; beyond it the t approximation is close


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's `rho` over `n` candidates with its interval at `level` and the two-sided p-value of rho = 0."""

    rho: float
    low: float
    high: float
    n: int
    p_value: float
    level: float = 0.95

    @property
    def transfers(self) -> bool:
        """Whether the interval excludes zero on the positive side; a reversed order is no transfer either."""
        return self.low > 0

    def explain(self) -> str:
        """One sentence with the consequence for promotion."""
        if self.transfers:
            what = "the order carries over"
        elif self.high < 0:
            what = "the order is reversed: promotion by this metric picks the worse"
        else:
            what = "not told from zero: promotion by this metric is a coin toss"
        return f"rank correlation {self.rho:+.2f} [{self.low:+.2f}, {self.high:+.2f}] over {self.n}: {what}"

    def as_dict(self) -> dict[str, float | int | bool]:
        """The fields and `transfers` as JSON-ready values."""
        return {**asdict(self), "transfers": self.transfers}


def rank_correlation(x: Sequence[float], y: Sequence[float], *, level: float = 0.95) -> Correlation:
    """Spearman's rank correlation of x and y (ties share their mean rank).

    The interval is tanh(atanh(rho) ± z sqrt((1 + rho²/2) / (n - 3))) (Bonett and Wright 2000). A perfect
    order of few candidates is read as one swap short of perfect, since atanh(1) would claim certainty. The
    p-value is exact over all orders up to n = 7 and by Student's t above.

    Raises:
        EvidenceError: unequal lengths, fewer than 4 candidates, a value that is not finite, or one side
            constant.
    """
    n = len(x)
    if n != len(y):
        raise EvidenceError(f"{n} values against {len(y)}: give both scores of each candidate, in one order")
    if n < 4:
        raise EvidenceError(f"{n} candidates cannot show a rank correlation; at least 4 are needed")
    if not all(map(math.isfinite, (*x, *y))):
        raise EvidenceError("a value is not finite; leave out candidates that were not scored on both sides")
    ranks_x, ranks_y = mean_ranks(x), mean_ranks(y)
    if len(set(ranks_x)) == 1 or len(set(ranks_y)) == 1:
        raise EvidenceError("all candidates score the same on one side: there is no order to carry over")
    rho = _pearson(ranks_x, ranks_y)
    low, high = _interval(rho, n, level)
    return Correlation(rho, low, high, n, _p_value(rho, ranks_x, ranks_y), level)


def mean_ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, ties sharing the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    first = 0
    for _, tied in itertools.groupby(order, key=values.__getitem__):
        members = list(tied)
        for member in members:
            ranks[member] = first + (len(members) + 1) / 2
        first += len(members)
    return ranks


def _interval(rho: float, n: int, level: float) -> tuple[float, float]:
    from statistics import NormalDist

    nearly_perfect = 1 - 12 / (n * (n * n - 1))  # one swap of neighbours away from a perfect order
    inner = math.copysign(min(abs(rho), nearly_perfect), rho)
    radius = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt((1 + inner * inner / 2) / (n - 3))
    low, high = math.tanh(math.atanh(inner) - radius), math.tanh(math.atanh(inner) + radius)
    return min(low, rho), max(high, rho)


def _p_value(rho: float, ranks_x: Sequence[float], ranks_y: Sequence[float]) -> float:
    n = len(ranks_x)
    if n <= _EXACT_UP_TO:
        orders = list(itertools.permutations(ranks_y))
        extreme = sum(abs(_pearson(ranks_x, order)) >= abs(rho) - 1e-12 for order in orders)
        return extreme / len(orders)
    if abs(rho) >= 1:
        return 0.0
    from scipy.stats import t as student

    return float(2 * student.sf(abs(rho) * math.sqrt((n - 2) / (1 - rho * rho)), n - 2))


def _pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r by its definition."""
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    dx, dy = [a - mean_x for a in x], [b - mean_y for b in y]
    r = math.fsum(a * b for a, b in zip(dx, dy, strict=True)) / math.sqrt(
        math.fsum(a * a for a in dx) * math.fsum(b * b for b in dy)
    )
    return max(-1.0, min(1.0, r))
