"""Paired effects and the one function that may say "better".

An `Effect` is oriented: positive means that the candidate is better, whichever way its metric runs. Its
interval is already widened for everything that entered the stage; its p-value is not (hand it to
`multiplicity` with the others). scipy is imported where it is needed: collecting campaigns imports this
module and must stay quick.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeVar

from asiarc.core.errors import EvidenceError
from asiarc.evidence.shares import wilson

NO_SPREAD = "sign test (no spread)"
ITEMS = 64  # answers that an accuracy is at least the share of: how exact it is where seeds show no spread
Seed = TypeVar("Seed", int, str)
Decision = Literal["better", "worse", "no worse", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `n` values of spread `sd`, with its interval `low` to `high` at confidence `level`."""

    mean: float
    low: float
    high: float
    n: int
    sd: float
    level: float


@dataclass(frozen=True, slots=True)
class Effect:
    """How much better the candidate is than the baseline, in the metric's own unit; positive is better.

    `low` and `high` hold at family level `level` over `num_comparisons` comparisons (each at the Bonferroni
    share); `p_value` is two-sided and unadjusted. `unpaired` counts seeds or items that only one side has:
    they are left out, and a reader should ask why they are missing.
    """

    mean: float
    low: float
    high: float
    n: int
    sd: float
    p_value: float
    test: str
    level: float = 0.95
    num_comparisons: int = 1
    unpaired: int = 0

    def explain(self) -> str:
        """One sentence: size, interval, n, test, p, the correction, and what was left out."""
        family = f", widened for {self.num_comparisons} comparisons" if self.num_comparisons > 1 else ""
        missing = f"; {self.unpaired} without a partner left out" if self.unpaired else ""
        return (
            f"gain {self.mean:+.4g} [{self.low:+.4g}, {self.high:+.4g}] at {self.level:.0%}{family}"
            f" (n={self.n} pairs, {self.test}, p={self.p_value:.3g} before correction{missing})"
        )

    def as_dict(self) -> dict[str, float | int | str]:
        """The fields as JSON-ready values."""
        return asdict(self)


def paired_effect(
    candidate: Mapping[Seed, float],
    baseline: Mapping[Seed, float],
    *,
    higher_is_better: bool,
    level: float = 0.95,
    num_comparisons: int = 1,
) -> Effect:
    """The candidate's gain over the baseline, paired by seed, with a t interval.

    Args:
        candidate: seed to value; a seed without a scored trial is absent, never a stand-in number.
        baseline: the same for the baseline.
        higher_is_better: the metric's direction; the effect is turned so that positive is better.
        level: family-wise confidence level.
        num_comparisons: everything that entered the stage, not only what is shown (Bonferroni).

    Assumes roughly normal differences, independent over seeds; coverage is measured by simulation. Differences
    without any spread (a coarse metric, or seeds that did not act) carry no t: there the interval reaches to zero
    until the sign test alone is decisive.

    Raises:
        EvidenceError: fewer than two common seeds, or a value that is not a finite number.
    """
    differences, unpaired = paired_differences(candidate, baseline, higher_is_better=higher_is_better)
    mean, sd = statistics.fmean(differences), statistics.stdev(differences)
    n, alpha = len(differences), _alpha(level, num_comparisons)
    if sd <= 1e-12 * max(map(abs, differences)):
        (low, high, p_value), test = _without_spread(mean, n, alpha), NO_SPREAD
    else:
        (low, high, p_value), test = _by_t(mean, sd, n, alpha), "paired t"
    return Effect(mean, low, high, n, sd, p_value, test, level, num_comparisons, unpaired)


def widened(effect: Effect, num_comparisons: int) -> Effect:
    """A paired effect with the interval that it has among so many comparisons, from its mean, spread and n.

    Never narrower than it is: an effect that was one of more comparisons stays one of those.
    """
    count = max(num_comparisons, effect.num_comparisons)
    if count == effect.num_comparisons:
        return effect
    alpha = _alpha(effect.level, count)
    if effect.test == NO_SPREAD:
        low, high, _ = _without_spread(effect.mean, effect.n, alpha)
    else:
        low, high, _ = _by_t(effect.mean, effect.sd, effect.n, alpha)
    return replace(effect, low=low, high=high, num_comparisons=count)


def paired_items(
    candidate: Mapping[Seed, float], baseline: Mapping[Seed, float], *, higher_is_better: bool, level: float = 0.95
) -> Effect:
    """As `paired_effect`, paired by item; where every value is 0 or 1 the p-value is McNemar's exact one.

    The interval stays that of the mean difference, which for right and wrong is the share of items won less that lost.
    Few disagreements make it too narrow; the exact p-value then decides, and the interval reaches to zero.
    """
    found = paired_effect(candidate, baseline, higher_is_better=higher_is_better, level=level)
    differences, _ = paired_differences(candidate, baseline, higher_is_better=higher_is_better)
    if {*candidate.values(), *baseline.values()} - {0.0, 1.0}:
        return found
    p_value = mcnemar(differences.count(1.0), differences.count(-1.0))
    low, high = found.low, found.high
    if p_value >= 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    return replace(found, low=low, high=high, p_value=p_value, test="McNemar, exact")


def mcnemar(won: int, lost: int) -> float:
    """The two-sided exact p-value of so many items won and lost, where a coin would decide each."""
    n = won + lost
    if n > 1_000:  # beyond what exact terms say more precisely than scipy's
        from scipy.stats import binomtest

        return float(binomtest(won, n).pvalue)
    tail = sum(math.comb(n, k) for k in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / 2**n)


def bootstrap_effect(
    candidate: Mapping[Seed, float],
    baseline: Mapping[Seed, float],
    *,
    higher_is_better: bool,
    level: float = 0.95,
    num_comparisons: int = 1,
    method: Literal["BCa", "percentile"] = "BCa",
    resamples: int = 9_999,
    seed: int = 0,
) -> Effect:
    """As `paired_effect`, with a bootstrap interval over pairs and a sign-flip p-value.

    For skewed differences and many pairs. Below about ten pairs it covers less than it says (measured by
    simulation); `paired_effect` is the default for that reason.

    Raises:
        EvidenceError: as `paired_effect`; also when the differences have no spread to resample.
    """
    import numpy as np
    from scipy.stats import bootstrap, permutation_test

    values, unpaired = paired_differences(candidate, baseline, higher_is_better=higher_is_better)
    differences = np.array(values)
    sd = float(differences.std(ddof=1))
    if sd <= 1e-12 * float(np.abs(differences).max()):
        raise EvidenceError(
            f"all {len(values)} differences equal {values[0]:g}: a bootstrap cannot see their spread. "
            "Use paired_effect, or more seeds."
        )
    found = bootstrap(
        (differences,), np.mean, confidence_level=1 - _alpha(level, num_comparisons), method=method,
        n_resamples=resamples, rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    flipped = permutation_test(
        (differences, np.zeros_like(differences)), lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=resamples, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return Effect(
        float(differences.mean()), float(found.low), float(found.high), len(values), sd,
        float(flipped.pvalue), f"bootstrap {method}, sign-flip p", level, num_comparisons, unpaired,
    )  # fmt: skip


def mean_interval(values: Sequence[float], *, level: float = 0.95, is_accuracy: bool = False) -> Interval:
    """The mean of values over seeds with its t interval; of accuracies with an interval that stays within 0 and 1.

    An accuracy's variance shrinks towards 0 and 1 as p (1 - p), so there the interval is Wilson's (1927) with t for z
    and n m (1 - m) / s² for the number of answers (m and s² the mean and variance over seeds): all p with
    (m - p)² <= t² s² / (m (1 - m)) p (1 - p) / n. Seeds that all agree count as `ITEMS` answers each. Coverage is
    measured by simulation.

    Raises:
        EvidenceError: fewer than two values, or one that is not a finite number.
    """
    _require_finite(values)
    if len(values) < 2:
        raise EvidenceError(f"{len(values)} value has no spread; an interval needs at least 2 seeds")
    from scipy.stats import t as student

    mean, sd, n = statistics.fmean(values), statistics.stdev(values), len(values)
    factor = float(student.isf(_alpha(level, 1) / 2, n - 1))
    if is_accuracy:
        answers = n * mean * (1 - mean) / sd**2 if sd > 1e-12 else n * ITEMS
        low, high = wilson(mean * answers, answers, factor)
        return Interval(mean, min(low, mean), max(high, mean), n, sd, level)
    radius = factor * sd / math.sqrt(n)
    return Interval(mean, mean - radius, mean + radius, n, sd, level)


def equivalent(effect: Effect, margin: float) -> bool:
    """Whether the effect is shown to lie within ±`margin`: two one-sided tests, each at (1 - level) / 2.

    Raises:
        EvidenceError: `margin` is not positive.
    """
    return no_worse(effect, margin) and effect.high < margin


def no_worse(effect: Effect, margin: float) -> bool:
    """Whether the candidate is shown to be no worse than the baseline by `margin` (in the metric's unit).

    Raises:
        EvidenceError: `margin` is not positive.
    """
    if not margin > 0:
        raise EvidenceError(
            f"a margin of {margin!r} allows no difference; give the largest one that does not matter, > 0"
        )
    return effect.low > -margin


def decide(effect: Effect, *, fresh_seeds: bool, fresh_items: bool, margin: float = 0.0) -> Decision:
    """What the effect allows one to say; nothing else in the project may say "better".

    "better" and "no worse" need seeds and items that took no part in choosing the candidate: on the ones that
    chose it, its score is the maximum of many draws. "worse" needs neither, since selection only flatters.
    "no worse" is said when the interval stays above -`margin` (given a positive margin) without staying above
    zero.
    """
    fresh = fresh_seeds and fresh_items
    if fresh and effect.low > 0:
        return "better"
    if fresh and margin > 0 and no_worse(effect, margin):
        return "no worse"
    return "worse" if effect.high < 0 else "cannot tell"


def paired_differences(
    candidate: Mapping[Seed, float], baseline: Mapping[Seed, float], *, higher_is_better: bool
) -> tuple[list[float], int]:
    """(gains over common seeds in seed order, number of seeds that only one side has).

    Raises:
        EvidenceError: fewer than two common seeds, or a value that is not a finite number.
    """
    common = sorted(candidate.keys() & baseline.keys())
    if len(common) < 2:
        raise EvidenceError(
            f"{len(common)} common seeds (candidate has {sorted(candidate)}, baseline {sorted(baseline)}); "
            "a paired effect needs at least 2. Run both on the same seeds."
        )
    sign = 1.0 if higher_is_better else -1.0
    differences = [sign * (candidate[seed] - baseline[seed]) for seed in common]
    _require_finite(differences)
    return differences, len(candidate.keys() ^ baseline.keys())


def _by_t(mean: float, sd: float, n: int, alpha: float) -> tuple[float, float, float]:
    """(low, high, p) by Student's t of n differences."""
    from scipy.stats import t as student

    error = sd / math.sqrt(n)
    radius = float(student.isf(alpha / 2, n - 1)) * error
    return mean - radius, mean + radius, float(2 * student.sf(abs(mean) / error, n - 1))


def _without_spread(mean: float, n: int, alpha: float) -> tuple[float, float, float]:
    """(low, high, p) for n identical differences, judged by their signs alone."""
    if mean == 0:
        return 0.0, 0.0, 1.0
    p_value = 2.0 ** (1 - n)
    return (mean, mean, p_value) if p_value < alpha else (min(mean, 0.0), max(mean, 0.0), p_value)


def _alpha(level: float, num_comparisons: int) -> float:
    """The error rate that each of `num_comparisons` intervals may spend (Bonferroni)."""
    if not 0 < level < 1 or num_comparisons < 1:
        raise EvidenceError(
            f"level={level!r}, num_comparisons={num_comparisons!r}: the level lies between 0 and 1 (0.95), "
            "and at least one comparison was made"
        )
    return (1 - level) / num_comparisons


def _require_finite(values: Sequence[float]) -> None:
    bad = [value for value in values if not math.isfinite(value)]
    if bad:
        raise EvidenceError(f"{bad[0]!r} is not a score; leave out trials that were not scored")
