"""Mixers that were not all trained on the same seeds, compared at one rung: score = mixer effect + seed effect.

The additive two-way layout by least squares (Scheffé 1959, chapter 4, with unequal numbers in the cells). A candidate
that was trained once is then compared with the reference's mean at an average seed, not with the reference's luck at
that seed. For exploring: what decides is `effects.paired_effect`, on fresh seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

TINY = 1e-9


class Difference(NamedTuple):
    """A difference of two mixer effects; its variance is `leverage` times that of one score's residual."""

    mean: float
    leverage: float


class Layout:
    """One rung's scores by (mixer, seed), larger is better; `squares` of its residuals on `freedom` degrees of freedom.

    Mixers are absorbed: with X_MS the share of each seed in a mixer's scores, the seed effects solve
    A_SS σ_S = b_S, where A = diag(n_S) - Σ n_m x_m x_mᵀ and b sums what a score is off its mixer's mean; then
    μ_m = mean_m - x_mᵀ σ, and Var(μ_a - μ_b) = s² (1/n_a + 1/n_b + dᵀ A⁺ d) with d = x_a - x_b.
    """

    def __init__(self, scores: Mapping[tuple[str, str], float]) -> None:
        mixers, seeds = (sorted({key[side] for key in scores}) for side in (0, 1))
        row, column = ({name: i for i, name in enumerate(names)} for names in (mixers, seeds))
        self.seeds_of: dict[str, list[str]] = {mixer: [] for mixer in mixers}
        seen_MS, score_MS = np.zeros((len(mixers), len(seeds))), np.zeros((len(mixers), len(seeds)))
        for (mixer, seed), score in sorted(scores.items()):
            seen_MS[row[mixer], column[seed]], score_MS[row[mixer], column[seed]] = 1, score
            self.seeds_of[mixer].append(seed)
        self._row, self._n_M = row, seen_MS.sum(1)
        self._mean_M, self._share_MS = score_MS.sum(1) / self._n_M, seen_MS / self._n_M[:, None]
        self._a_SS = np.diag(seen_MS.sum(0)) - (self._share_MS * self._n_M[:, None]).T @ self._share_MS
        self._inverse_SS = np.linalg.pinv(self._a_SS, rcond=TINY, hermitian=True)
        off_MS = seen_MS * (score_MS - self._mean_M[:, None])
        self._seed_S = self._inverse_SS @ off_MS.sum(0)
        left_MS = off_MS - seen_MS * (self._seed_S - (self._share_MS @ self._seed_S)[:, None])
        self.squares = float((left_MS * left_MS).sum())
        rank = int(np.linalg.matrix_rank(self._a_SS, tol=TINY, hermitian=True))
        self.freedom = len(scores) - len(mixers) - rank

    def effects(self) -> dict[str, float]:
        """Each mixer's effect; only differences of them mean anything."""
        effect_M = self._mean_M - self._share_MS @ self._seed_S
        return {mixer: float(effect_M[i]) for mixer, i in self._row.items()}

    def difference(self, a: str, b: str) -> Difference | None:
        """How far `a` is ahead of `b`; None where no chain of shared seeds joins them, or one has no score here."""
        if a not in self._row or b not in self._row:
            return None
        i, j = self._row[a], self._row[b]
        d_S = self._share_MS[i] - self._share_MS[j]
        if np.abs(self._a_SS @ (self._inverse_SS @ d_S) - d_S).max() > 1e-6:
            return None
        if i == j:
            return Difference(0.0, 0.0)
        leverage = 1 / self._n_M[i] + 1 / self._n_M[j] + d_S @ self._inverse_SS @ d_S
        return Difference(float(self._mean_M[i] - self._mean_M[j] - d_S @ self._seed_S), float(leverage))


@cache
def t_factor(freedom: int, comparisons: int = 1) -> float:
    """Half the width of a 95 % t interval, in standard errors; of one that holds for all of some comparisons."""
    from scipy.stats import t as student

    return float(student.isf(0.025 / comparisons, freedom))
