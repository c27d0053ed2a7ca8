"""The interval of a share, needing nothing but arithmetic."""

from __future__ import annotations

from math import sqrt

Z = 1.96


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of `hits` in `n` (Wilson 1927)."""
    assert 0 <= hits <= n and n, (hits, n)
    p = hits / n
    centre, half = p + Z * Z / (2 * n), Z * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
