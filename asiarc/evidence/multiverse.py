"""How much of a verdict is the analyst's: the share of defensible analyses of the same trials that say the same.

After the m-value of "The Agentic Garden of Forking Paths" (arXiv 2607.01507), there the share of analysis paths whose
result is at least as extreme as the reported one. Here the paths are enumerated, not sampled, and "as extreme" is the
word that the interval of the comparison gives: ahead, behind, or cannot tell. One path is a choice of each of

    place    a stage and rung on which both sides were trained with three common seeds or more
    seeds    all of them, or any subset of three or more (the first `SUBSETS` of each size, in their order)
    metric   the score itself, or its logarithm
    test     paired t; Welch's t, unpaired; exact sign flips of the pairs, where they are enough to show anything
    level    95 or 99 %, widened for the comparisons of the claim or not
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from statistics import fmean
from typing import Literal

from asiarc.core.errors import EvidenceError

LEAST_PATHS = 64
LEAST_SEEDS = 3
SUBSETS = 12
Word = Literal["ahead", "behind", "cannot tell"]
Sides = tuple[Mapping[str, float], Mapping[str, float]]  # scores by seed of the one and of the other, larger is better


@dataclass(frozen=True)
class MValue:
    """`same` of `paths` analyses say `word`, as the verdict's own comparison does."""

    word: Word
    same: int
    paths: int

    @property
    def share(self) -> float:
        """The m-value, 0 to 1."""
        return self.same / self.paths


def word_of(low: float, high: float) -> Word:
    """What an interval says."""
    return "ahead" if low > 0 else "behind" if high < 0 else "cannot tell"


def m_value(word: Word, places: Sequence[Sides], *, num_comparisons: int = 1) -> MValue:
    """The share of the analyses of all places that say `word`.

    Raises:
        EvidenceError: the places allow fewer than `LEAST_PATHS` analyses.
    """
    said = [found for sides in places for found in _words(*sides, num_comparisons)]
    if len(said) < LEAST_PATHS:
        raise EvidenceError(f"{len(said)} analyses, of at least {LEAST_PATHS}")
    return MValue(word, said.count(word), len(said))


def _words(mine: Mapping[str, float], theirs: Mapping[str, float], num_comparisons: int) -> Iterator[Word]:
    """What each analysis of one place says."""
    alphas = sorted({alpha / count for alpha in (0.05, 0.01) for count in (1, num_comparisons)})
    alphas += alphas if num_comparisons == 1 else []  # widened for one comparison is not widened: as many paths
    for seeds, is_log in product(_subsets(sorted(mine.keys() & theirs.keys())), (False, True)):
        sides = [[_scaled(side[seed], is_log=is_log) for seed in seeds] for side in (mine, theirs)]
        if all(math.isfinite(score) for side in sides for score in side):
            gain, p_values = _tests(*sides)
            can_flip = 2.0 ** (1 - len(seeds)) < alphas[0]
            for alpha, p_value in product(alphas, p_values if can_flip else p_values[:-1]):
                yield "cannot tell" if p_value >= alpha else "ahead" if gain > 0 else "behind"


def _subsets(seeds: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for size in range(len(seeds), LEAST_SEEDS - 1, -1):
        yield from islice(combinations(seeds, size), SUBSETS)


def _scaled(score: float, *, is_log: bool) -> float:
    """A score, or its logarithm with its direction kept: a loss comes with its sign turned. 0 has none: infinite."""
    if not is_log:
        return score
    return math.copysign(1, score) * math.log(abs(score)) if score else -math.inf


def _tests(mine: Sequence[float], theirs: Sequence[float]) -> tuple[float, list[float]]:
    """The mean gain, and its two-sided p-values by a paired t test, Welch's, and sign flips of the pairs."""
    from scipy.stats import t as student

    gains = [a - b for a, b in zip(mine, theirs, strict=True)]
    n, gain = len(gains), fmean(gains)
    variances = [_variance(side) / n for side in (mine, theirs)]
    freedom = (n - 1) * sum(variances) ** 2 / (sum(v * v for v in variances) or 1.0)
    errors = ((math.sqrt(_variance(gains) / n), n - 1), (math.sqrt(sum(variances)), max(freedom, 1.0)))
    by_t = [float(2 * student.sf(abs(gain) / error, df)) if error > 0 else float(gain == 0) for error, df in errors]
    return gain, [*by_t, _flips(gains)]


def _variance(values: Sequence[float]) -> float:
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _flips(gains: Sequence[float]) -> float:
    """The share of sign patterns whose sum is at least as far from zero."""
    seen = abs(sum(gains)) * (1 - 1e-12)
    patterns = list(product((-1, 1), repeat=len(gains))) if len(gains) <= 10 else []
    if not patterns:  # more pairs than are enumerated: the normal limit
        return math.erfc(seen / math.sqrt(2 * sum(gain * gain for gain in gains))) if seen else 1.0
    return sum(abs(sum(s * g for s, g in zip(signs, gains, strict=True))) >= seen for signs in patterns) / len(patterns)
