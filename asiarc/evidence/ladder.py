"""The Ladder (Blum and Hardt 2015): a leaderboard that may be asked without end, and teaches nobody its noise.

A number is told only of who is ahead of the best that was told, by more than its interval; all others are told the same
word. Until the first number, what somebody asks does not depend on the noise, whatever he makes of the answers: the
tests are a list that was fixed before, and a union bound over them holds. Each number told forks that list in as many
ways as it could have come out, and the intervals after it are widened for all of these. With d the looks since the last
number, q the number in steps and G the sizes that an interval can have, a look is one of

    2 d (d + 1) ∏ over numbers told of 2 G d (d + 1) q (q + 1)

comparisons; the shares 1 / (d (d + 1)), 1 / (q (q + 1)) and 1/2 add up to one, so that all looks together err in 2.5 %.
Simulated with adversaries: `python -m tests.rigs looks`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from asiarc.evidence.additive import TINY

ERRS = 0.025  # of all looks, in one direction: the upper half of a 95 % interval
SIZES, AN_OCTAVE = 64, 4  # sizes of an interval: 1, 2^-1/4, 2^-1/2, ...
STEPS = 4  # a number is told in steps of so many to half its interval


class Told(NamedTuple):
    """A number that was told: the gain in whole steps, rounded down, and its interval."""

    gain: float
    low: float
    high: float
    steps: int


@dataclass(frozen=True)
class Ladder:
    """How far it was climbed: the best gain that was told (0 is start_from), the looks since, and the comparisons that
    what was told stands for."""

    best: float = 0.0
    since: int = 0
    paths: float = 1.0

    @property
    def comparisons(self) -> float:
        """How many comparisons the next look is one of."""
        return 2 * self.paths * (self.since + 1) * (self.since + 2)

    def look(self, gain: float, error: float, freedom: int) -> tuple[Ladder, Told | None]:
        """The ladder after a look, and what is told; None where it is not ahead of the best. `error` is the standard
        error of the gain with `freedom` degrees."""
        radius = self._radius(error, freedom)
        if radius is None or not math.isfinite(gain):
            return self.stays(), None
        steps = math.floor(STEPS * gain / radius)
        told = steps * radius / STEPS
        if told - radius <= self.best:
            return self.stays(), None
        return self.climbs(told, steps), Told(told, told - radius, told + radius + radius / STEPS, steps)

    def stays(self) -> Ladder:
        """The ladder after a look at which no number was told."""
        return replace(self, since=self.since + 1)

    def climbs(self, told: float, steps: int) -> Ladder:
        """The ladder after a number was told."""
        return Ladder(told, 0, self.comparisons * SIZES * steps * (steps + 1))

    def _radius(self, error: float, freedom: int) -> float | None:
        """Half the interval, rounded up to a size that there is; None beyond the largest."""
        from scipy.special import stdtrit

        share = ERRS / self.comparisons
        radius = -float(stdtrit(freedom, share)) * error if share > 0 else math.inf
        if not radius <= 1:
            return None
        return 2.0 ** (-min(SIZES - 1, math.floor(-AN_OCTAVE * math.log2(max(radius, TINY)))) / AN_OCTAVE)


def widened_for(looks: int) -> int:
    """The comparisons that the interval of the n-th look counts as, so that those of any number err in no more than
    that of one: 1 / (n (n + 1)) adds up to one. Holds where each look's noise is its own."""
    return looks * (looks + 1)
