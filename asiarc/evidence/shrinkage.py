"""The winner's curse, undone: empirical-Bayes estimates of candidates that were picked by the score they
show."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import TypeVar

from asiarc.core.errors import EvidenceError

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Shrunken:
    """A candidate's `raw` mean, its estimate after shrinkage with interval, and the share of `raw` it kept."""

    raw: float
    mean: float
    low: float
    high: float
    weight: float


def shrink(
    means: Mapping[Name, float], standard_errors: Mapping[Name, float], *, level: float = 0.95
) -> dict[Name, Shrunken]:
    """Every candidate's mean, drawn toward the population as far as its noise demands.

    With x_i ~ N(theta_i, se_i²) and theta_i ~ N(m, tau²): estimate m + w_i (x_i - m), w_i = tau² / (tau² +
    se_i²), m and tau² from all k candidates that were scored (Paule and Mandel 1982). Interval ± z sqrt(w_i
    se_i² + (1 - w_i)² (var(m) + 2 (x_i - m)² / (k - 1))), whose last term is tau²'s own uncertainty (Morris
    1983). The estimate of the largest is then no longer biased by having been picked; measured by ``python -m
    asiarc.evidence``. With no visible spread between candidates, all get the common mean.

    Raises:
        EvidenceError: fewer than 3 candidates, a missing or non-positive standard error, a value that is not
            finite.
    """
    if len(means) < 3:
        raise EvidenceError(
            f"{len(means)} candidates do not show how candidates spread; at least 3 are needed"
        )
    if means.keys() != standard_errors.keys():
        raise EvidenceError(
            f"no standard error for {sorted(map(str, means.keys() ^ standard_errors.keys()))}"
        )
    x, se = list(means.values()), [standard_errors[name] for name in means]
    if not all(map(math.isfinite, x)) or not all(math.isfinite(s) and s > 0 for s in se):
        raise EvidenceError(
            "every candidate needs a finite mean and a standard error above 0 (at least 2 seeds)"
        )
    between = _between_variance(x, se)
    centre, weights = _centre(x, se, between)
    centre_variance, z = 1 / math.fsum(weights), NormalDist().inv_cdf((1 + level) / 2)
    shrunken: dict[Name, Shrunken] = {}
    for name, raw, error in zip(means, x, se, strict=True):
        keep = between / (between + error * error)
        mean = centre + keep * (raw - centre)
        uncertain = centre_variance + 2 * (raw - centre) ** 2 / (len(x) - 1)
        radius = z * math.sqrt(keep * error * error + (1 - keep) ** 2 * uncertain)
        shrunken[name] = Shrunken(raw, mean, mean - radius, mean + radius, keep)
    return shrunken


def pooled_standard_errors(sds: Mapping[Name, float], counts: Mapping[Name, int]) -> dict[Name, float]:
    """Standard errors of the means from one seed noise common to all candidates.

    s² = sum (n_i - 1) sd_i² / sum (n_i - 1), se_i = s / sqrt(n_i). With two or three seeds a candidate's own
    sd is mostly luck, and the luckiest would be shrunk least.

    Raises:
        EvidenceError: no candidate has two seeds.
    """
    freedom = sum(count - 1 for count in counts.values())
    if freedom < 1:
        raise EvidenceError("no candidate was run on 2 seeds: the seed noise is unknown")
    variance = math.fsum((counts[name] - 1) * sds[name] ** 2 for name in counts if counts[name] > 1) / freedom
    return {name: math.sqrt(variance / count) for name, count in counts.items()}


def _centre(x: list[float], se: list[float], between: float) -> tuple[float, list[float]]:
    weights = [1 / (between + s * s) for s in se]
    return math.fsum(w * a for w, a in zip(weights, x, strict=True)) / math.fsum(weights), weights


def _between_variance(x: list[float], se: list[float]) -> float:
    """tau² at which the weighted spread equals its expectation, n - 1; 0 where even tau² = 0 explains it."""

    def excess(between: float) -> float:
        centre, weights = _centre(x, se, between)
        return math.fsum(w * (a - centre) ** 2 for w, a in zip(weights, x, strict=True)) - (len(x) - 1)

    if excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, math.fsum((a - fmean(x)) ** 2 for a in x)  # there excess <= 1 - (n - 1) < 0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2
