"""The interval of a share, needing nothing but arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

Z = 1.96


def wilson(hits: float, n: float, z: float = Z) -> tuple[float, float]:
    """Wilson's interval of `hits` in `n` (Wilson 1927), 95 % unless `z` says another; neither has to be whole."""
    assert 0 <= hits <= n and n, (hits, n)
    p = hits / n
    centre, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def are_at_chance(accuracies: Sequence[float], chance: float, n: int) -> bool:
    """Whether none of some accuracies, each over the same `n` items, can be told from chance.

    Each interval is widened for their number, so that chance alone tells one of them apart once in twenty times. An
    accuracy that is a mean over seeds counts its items once: models that learnt nothing err on the same ones.
    """
    z = NormalDist().inv_cdf(1 - 0.025 / len(accuracies))
    intervals = [wilson(min(max(accuracy, 0.0), 1.0) * n, n, z) for accuracy in accuracies]
    return all(low <= chance <= high for low, high in intervals)
