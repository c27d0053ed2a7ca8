"""How many seeds resolve a difference, given the noise that was measured (paired t test, two-sided)."""

from __future__ import annotations

import math

from asiarc.core.errors import EvidenceError

_MOST_PAIRS = 100_000


def power_of(difference: float, sd: float, pairs: int, *, level: float = 0.95, num_comparisons: int = 1) -> float:
    """The chance that a true `difference` is found by a paired t test with `pairs` pairs of spread `sd`.

    P(|T| > t_crit) for T noncentral with n - 1 degrees and shift difference sqrt(n) / sd; Bonferroni over
    `num_comparisons`.

    Raises:
        EvidenceError: fewer than 2 pairs, or an `sd` that is not positive.
    """
    if pairs < 2 or not sd > 0:
        raise EvidenceError(f"pairs={pairs!r}, sd={sd!r}: power needs at least 2 pairs and a measured sd above 0")
    from scipy.stats import nct
    from scipy.stats import t as student

    critical = float(student.isf((1 - level) / num_comparisons / 2, pairs - 1))
    shift = abs(difference) * math.sqrt(pairs) / sd
    # The far tail is the near tail of the mirrored shift; scipy loses it for large shifts, where it is nil.
    far = float(nct.cdf(-critical, pairs - 1, shift)) if shift < 5 else 0.0
    return min(1.0, float(nct.sf(critical, pairs - 1, shift)) + far)


def pairs_needed(
    difference: float, sd: float, *, power: float = 0.8, level: float = 0.95, num_comparisons: int = 1
) -> int:
    """The fewest seed pairs that find a true `difference` with chance `power`; `sd` is of the paired gains.

    Raises:
        EvidenceError: a zero difference, an `sd` that is not positive, or more than 100,000 pairs needed.
    """
    if difference == 0:
        raise EvidenceError("no number of seeds resolves a difference of 0; give the smallest one that matters")

    def enough(pairs: int) -> bool:
        return power_of(difference, sd, pairs, level=level, num_comparisons=num_comparisons) >= power

    low, high = 1, 2
    while not enough(high):
        if high > _MOST_PAIRS:
            raise EvidenceError(
                f"a difference of {difference:g} under a noise of {sd:g} needs over {_MOST_PAIRS:,} pairs"
            )
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def detectable_difference(
    sd: float, pairs: int, *, power: float = 0.8, level: float = 0.95, num_comparisons: int = 1
) -> float:
    """The smallest true difference that `pairs` pairs find with chance `power`.

    Raises:
        EvidenceError: as `power_of`.
    """
    low, high = 0.0, sd
    while power_of(high, sd, pairs, level=level, num_comparisons=num_comparisons) < power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        found = power_of(middle, sd, pairs, level=level, num_comparisons=num_comparisons) >= power
        low, high = (low, middle) if found else (middle, high)
    return high
