"""Corrections for many comparisons: hand in everything that entered the stage, not what is left to show."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

from asiarc.core.errors import EvidenceError

Name = TypeVar("Name", bound=Hashable)


def benjamini_hochberg(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Benjamini and Hochberg's adjusted p-values: rejecting those <= q keeps the expected false share <= q.

    p~(k) = min over j >= k of min(1, m p(j) / j). Holds for independent and for positively dependent tests,
    which comparisons with one shared baseline are (Benjamini and Yekutieli 2001).

    Raises:
        EvidenceError: no p-values, or one outside [0, 1].
    """
    adjusted: dict[Name, float] = {}
    running = 1.0
    ordered = _sorted(p_values)
    for rank in range(len(ordered), 0, -1):
        name, p = ordered[rank - 1]
        running = min(running, len(ordered) * p / rank)
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Holm's adjusted p-values: rejecting those <= alpha keeps the chance of any false rejection <= alpha.

    p~(k) = max over j <= k of min(1, (m - j + 1) p(j)); whatever the tests' dependence (Holm 1979).

    Raises:
        EvidenceError: no p-values, or one outside [0, 1].
    """
    adjusted: dict[Name, float] = {}
    running = 0.0
    for rank, (name, p) in enumerate(ordered := _sorted(p_values)):
        running = max(running, min(1.0, (len(ordered) - rank) * p))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def _sorted(p_values: Mapping[Name, float]) -> list[tuple[Name, float]]:
    if not p_values:
        raise EvidenceError("no p-values to correct; an empty stage has nothing to decide")
    for name, p in p_values.items():
        if math.isnan(p) or not 0 <= p <= 1:
            raise EvidenceError(f"the p-value of {name!r} is {p!r}; it must lie in [0, 1]")
    return sorted(p_values.items(), key=lambda item: item[1])
