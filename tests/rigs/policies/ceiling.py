"""How often the best could be found at all: rules that are told what no search knows.

The bench's simulated population (`Simulated`: normal truths, normal noise of the same size), every candidate measured
once, then one at a time until the budget is spent. A rule is told spread and noise, so that its posterior is exact:
with precisions in units of the noise, a candidate's mean is total / (n + 1) and its variance 1 / (n + 1). Rules: the
upper bound at several widths, Thompson's draw (1933), the knowledge gradient (Frazier, Powell and Dayanik 2008, eq.
4.8) and the choice between the leader and its likeliest challenger (top two; Russo 2016).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from asiarc.core.seeds import seed_of
from asiarc.evidence.shares import wilson

CANDIDATES = 64
Rule = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""Which candidate each search measures next, from posterior means and variances [search, candidate]."""


def upper_bound(width: float) -> Rule:
    """The highest mean plus `width` standard deviations."""
    return lambda mean, variance, rng: (mean + width * np.sqrt(variance)).argmax(1)


def thompson(mean: np.ndarray, variance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The highest of one draw from the posterior."""
    drawn: np.ndarray = (mean + np.sqrt(variance) * rng.standard_normal(mean.shape)).argmax(1)
    return drawn


def knowledge_gradient(mean: np.ndarray, variance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What one more measurement is expected to add to the best mean."""
    change = variance / np.sqrt(variance + 1)
    ordered = np.sort(mean, 1)
    rival = np.where(mean == ordered[:, -1:], ordered[:, -2:-1], ordered[:, -1:])
    z = -np.abs(mean - rival) / change
    worth: np.ndarray = (change * (z * norm.cdf(z) + norm.pdf(z))).argmax(1)
    return worth


def top_two(mean: np.ndarray, variance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The leader or who is likeliest to be better, whoever is known less."""
    rows = np.arange(len(mean))
    leader = mean.argmax(1)
    lead = mean[rows, leader][:, None] - mean
    sure = lead / np.sqrt(variance[rows, leader][:, None] + variance)
    sure[rows, leader] = np.inf
    challenger = sure.argmin(1)
    return np.where(variance[rows, leader] > variance[rows, challenger], leader, challenger)


RULES: dict[str, Rule] = {
    **{f"upper bound, width {width:g}": upper_bound(width) for width in (2, 2.5, 3, 3.5, 4)},
    "thompson": thompson,
    "knowledge gradient": knowledge_gradient,
    "top two": top_two,
}


def found_best(rule: Rule, evaluations: int, searches: int) -> int:
    """In how many searches the highest posterior mean is the true best at the end."""
    rng = np.random.default_rng(seed_of("search", "ceiling", evaluations))
    truth, rows = rng.standard_normal((searches, CANDIDATES)), np.arange(searches)
    total, n = truth + rng.standard_normal(truth.shape), np.ones_like(truth)
    for _ in range(evaluations - CANDIDATES):
        chosen = rule(total / (n + 1), 1 / (n + 1), rng)
        total[rows, chosen] += truth[rows, chosen] + rng.standard_normal(searches)
        n[rows, chosen] += 1
    return int(((total / (n + 1)).argmax(1) == truth.argmax(1)).sum())


def _share(count: int, searches: int) -> str:
    low, high = wilson(count, searches)
    return f"{count / searches:.1%} [{low:.1%}, {high:.1%}]"


def lines(searches: int) -> list[str]:
    """Every rule at 3.5 evaluations a candidate, then the best of them with more."""
    found = {name: found_best(rule, round(3.5 * CANDIDATES), searches) for name, rule in RULES.items()}
    best = max(found, key=lambda name: found[name])
    more = {a: found_best(RULES[best], round(a * CANDIDATES), searches) for a in (3.75, 4.0, 4.25, 4.5)}
    return [
        f"told spread and noise, {CANDIDATES} candidates, {searches:,} searches; finds the best:",
        *(f"  {name:<24} 3.5 runs  {_share(count, searches)}" for name, count in found.items()),
        *(f"  {best:<24} {a:g} runs  {_share(count, searches)}" for a, count in more.items()),
    ]
