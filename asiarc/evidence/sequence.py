"""Stop whenever you like: a confidence sequence for the mean of a stream of paired differences.

An ordinary 95 % interval looked at after every seed is wrong far more than 5 % of the time. This one holds at
all times at once, so a comparison may be stopped the moment it has decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from asiarc.core.errors import EvidenceError
from asiarc.evidence.effects import Interval


class ConfidenceSequence:
    """Anytime-valid interval for the mean of normal differences with unknown spread.

    The set of means m that the Bayes-factor t test has never rejected at 1/alpha: with x = t² / (n - 1) for
    the t statistic of m, B = (1 + n g)^(-1/2) [(1 + x) / (1 + x / (1 + n g))]^(n/2) is a nonnegative
    martingale under m for any spread (right Haar prior on it, N(0, g) on the mean in units of it), so P(B
    ever >= 1/alpha) <= alpha (Ville). Solved for x: x = (R - 1) / (1 - R / (1 + n g)), R = (sqrt(1 + n g) /
    alpha)^(2/n), unbounded while R >= 1 + n g.

    `expected_effect` = sqrt(g) is the size, in standard deviations of a difference, at which it is to decide
    fastest; it must be fixed beforehand.

    Raises:
        EvidenceError: a level outside (0, 1), an effect that is not positive, or a difference that is not
            finite.
    """

    def __init__(
        self, *, level: float = 0.95, num_comparisons: int = 1, expected_effect: float = 1.0
    ) -> None:
        if not 0 < level < 1 or num_comparisons < 1 or not expected_effect > 0:
            raise EvidenceError(
                f"level={level!r}, num_comparisons={num_comparisons!r}, expected_effect={expected_effect!r}: "
                "use a level in (0, 1), at least one comparison, and an effect above 0"
            )
        self.level = level
        self._alpha = (1 - level) / num_comparisons
        self._g = expected_effect**2
        self._n, self._mean, self._squares = 0, 0.0, 0.0

    def update(self, difference: float) -> Interval:
        """Takes the next difference; returns the interval as of now, unbounded while too few or all equal."""
        if not math.isfinite(difference):
            raise EvidenceError(
                f"{difference!r} is not a difference; skip pairs that were not scored on both sides"
            )
        self._n += 1
        step = difference - self._mean
        self._mean += step / self._n
        self._squares += step * (difference - self._mean)
        return self.interval

    @property
    def interval(self) -> Interval:
        """The interval after all differences so far.

        Raises:
            EvidenceError: none has come yet.
        """
        n = self._n
        if n == 0:
            raise EvidenceError("no difference has come yet")
        sd = math.sqrt(self._squares / (n - 1)) if n > 1 else math.nan
        radius = self._t_bound() * sd / math.sqrt(n) if n > 1 and sd > 0 else math.inf
        return Interval(self._mean, self._mean - radius, self._mean + radius, n, sd, self.level)

    @property
    def decided(self) -> bool:
        """Whether zero has been left; stopping now keeps the level."""
        return self._n > 0 and (self.interval.low > 0 or self.interval.high < 0)

    def _t_bound(self) -> float:
        """The |t| that the test tolerates at this n."""
        n, spread = self._n, 1 + self._n * self._g
        log_ratio = (2 / n) * (0.5 * math.log(spread) - math.log(self._alpha))
        if log_ratio >= math.log(spread):
            return math.inf
        ratio = math.exp(log_ratio)
        return math.sqrt((n - 1) * (ratio - 1) / (1 - ratio / spread))


def confidence_sequence(
    differences: Iterable[float], *, level: float = 0.95, expected_effect: float = 1.0
) -> Iterator[Interval]:
    """The interval after each difference in turn (see `ConfidenceSequence`)."""
    sequence = ConfidenceSequence(level=level, expected_effect=expected_effect)
    for difference in differences:
        yield sequence.update(difference)
