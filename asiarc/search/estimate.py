"""What a candidate is worth on the last rung, given all that was observed: the posterior of a hierarchical model.

Top-rung gains y_ij ~ N(theta_i, noise²); theta_i ~ N(a + b x_i, spread²), where x_i is the candidate's mean on the
rung that it was screened on (b = 0 without one). Empirical Bayes but for the ratio noise² / spread², which is
averaged over: few candidates are trained twice, so it is known poorly. With v the variance of all x, the line and the
spread count one observation each beforehand, of b = 1 and of spread² = v: while one candidate is deep, neither could be
told, and who was first would be trained again and again. A search looks again at what looked good, but only by what it
has seen, so the likelihood stays valid under its choices, and the posterior mean is free of the winner's curse as far
as the model holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asiarc.search.protocol import ROOT, Board

DRAWS = 1000

RATIOS_L = 2.0 ** np.arange(-6, 7)
"""Noise² over spread²; before any candidate was trained twice, log2 of it is N(0, 2²): about equal, factors of 4."""
_PRIOR_L = np.log2(RATIOS_L) ** 2 / 4
TINY = 1e-12  # of a variance


@dataclass(frozen=True)
class Posterior:
    """Mean and standard deviation of theta for start_from (known) and every candidate, and the noise of one run."""

    mean: np.ndarray
    sd: np.ndarray
    noise: float


def posterior(board: Board, screen: int | None = None) -> Posterior:
    """The posterior of every candidate; one that was never evaluated on the last rung has the prior's.

    Axes: L ratios, N start_from and candidates, K those evaluated. For each ratio r, with u = n / (n + r): a and b by
    least squares with weights u, to which v (b - 1)² is added; spread² = (Q + v + W / r) / m with Q what the squares
    come to, W the within-candidate sum of squares and m = runs + 2; -2 log likelihood = m log spread² - sum log u +
    (runs - K) log r. Without a screening v is 0 and m the runs.
    """
    rows = len(board.traits)
    n_N, total_N, square_N = (a[:rows, board.top] for a in (board.counts, board.totals, board.squares))
    screened = screen is not None and screen != board.top
    x_N = np.nan_to_num(board.means(screen)) if screened else np.zeros(rows)
    known_K = x_N[1:][board.counts[1:rows, screen] > 0] if screened else x_N[:0]
    v = float(known_K.var()) if len(known_K) > 1 else 0.0
    before = 1 if v > TINY else 0  # what the slope and the spread count, each, beforehand
    seen = np.flatnonzero(n_N)
    if not len(seen):
        sd_N = np.full(rows, v**0.5 if before else 1.0)
        sd_N[ROOT] = 0.0
        return Posterior(x_N, sd_N, 1.0)
    n_K, x_K, runs = n_N[seen], x_N[seen], int(n_N.sum())
    y_K = total_N[seen] / n_K
    within = max(float(square_N.sum() - n_K @ (y_K * y_K)), 0.0)
    x0, y0 = float(x_K.mean()), float(y_K.mean())  # centred, so that sums of squares keep their digits
    x_K, y_K = x_K - x0, y_K - y0
    u_LK = n_K / (n_K + RATIOS_L[:, None])
    columns = np.stack([np.ones(len(seen)), x_K, y_K, x_K * x_K, x_K * y_K, y_K * y_K], axis=1)
    s1, sx, sy, sxx, sxy, syy = (u_LK @ columns).T
    sxx, sxy, syy = sxx - sx * sx / s1, sxy - sx * sy / s1, syy - sy * sy / s1
    sxx, sxy, syy, m = sxx + before * v, sxy + before * v, syy + before * v, runs + 2 * before
    b_L = sxy / np.maximum(sxx, TINY) if screened else np.zeros(len(s1))
    a_L = (sy - b_L * sx) / s1
    spread2_L = np.maximum((syy - b_L * sxy + before * v + within / RATIOS_L) / m, TINY)
    misfit_L = m * np.log(spread2_L) - np.log(u_LK).sum(1) + (runs - len(seen)) * np.log(RATIOS_L) + _PRIOR_L
    weight_L = np.exp((misfit_L.min() - misfit_L) / 2)
    weight_L /= weight_L.sum()
    keep_LN = n_N / (n_N + RATIOS_L[:, None])
    prior_LN = y0 + a_L[:, None] + b_L[:, None] * (x_N - x0)
    mean_LN = prior_LN + keep_LN * (total_N / np.maximum(n_N, 1) - prior_LN)
    mean_N = weight_L @ mean_LN
    variance_N = weight_L @ (spread2_L[:, None] * (1 - keep_LN) + (mean_LN - mean_N) ** 2)
    mean_N[ROOT] = variance_N[ROOT] = 0.0
    return Posterior(mean_N, np.sqrt(variance_N), float(np.sqrt(weight_L @ (spread2_L * RATIOS_L))))


def chances(known: Posterior, among: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How likely each of some rows is the best of them: the share of joint draws from the posterior that it leads."""
    drawn_DN = known.mean[among] + known.sd[among] * rng.standard_normal((DRAWS, len(among)))
    return np.bincount(drawn_DN.argmax(1), minlength=len(among)) / DRAWS
