"""What a candidate is worth on the last rung, given all that was observed: the posterior of a hierarchical model.

Top-rung gains y_ij ~ N(theta_i, noise²); theta_i ~ N(a + b x_i, spread²), where x_i is the candidate's mean on the
rung that it was screened on (b = 0 without one). The four parameters are fitted by maximum marginal likelihood (EM).
A search looks again at what looked good, but only by what it has seen, so the likelihood stays valid under its choices,
and the posterior mean is free of the winner's curse as far as the model holds. (`asiarc.evidence.shrinkage` has the
same estimate for a stage of fixed size.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asiarc.search.protocol import Board

TINY = 1e-12  # of a variance
ROUNDS = 10  # of EM; from the start below it is then within the noise of the parameters themselves


@dataclass(frozen=True)
class Posterior:
    """Mean and standard deviation of theta for start_from (known) and every candidate, and the fitted noise."""

    mean: np.ndarray
    sd: np.ndarray
    noise: float

    def sd_of_change(self, more: float) -> np.ndarray:
        """Standard deviation of how far each mean would move with `more` evaluations: v / sqrt(v + noise²/more)."""
        variance = self.sd**2
        return variance / np.sqrt(variance + self.noise**2 / more)


def posterior(board: Board, screen: int | None = None) -> Posterior:
    """The posterior of every candidate; one that was never evaluated on the last rung has the prior's.

    Before any candidate has been evaluated twice, noise and spread cannot be told apart and count as equal.
    """
    rows = len(board.traits)
    n, total, square = (a[1:rows, board.top] for a in (board.counts, board.totals, board.squares))
    x = np.zeros(rows - 1)
    if screen is not None and screen != board.top:
        x = np.nan_to_num(board.means(screen)[1:])
    seen = n > 0
    if not seen.any():
        return Posterior(np.append(0.0, x), np.append(0.0, np.full(rows - 1, x.std() + 1.0)), 1.0)
    y = np.where(seen, total / np.maximum(n, 1), 0.0)
    ns, ys, xs = n[seen], y[seen], x[seen]
    within = np.maximum(square[seen] - ns * ys * ys, 0.0)
    b = 1.0 if xs.any() else 0.0
    a = float((ys - b * xs).mean())
    spread2 = noise2 = max(float(np.square(ys - a - b * xs).mean()) / 2, TINY)
    for _ in range(ROUNDS):
        mean, variance = _expect(ns, ys, a + b * xs, spread2, noise2)
        a, b = _fit_line(xs, mean) if b else (float(mean.mean()), 0.0)
        spread2 = max(float((np.square(mean - a - b * xs) + variance).mean()), TINY)
        if ns.max() > 1:
            noise2 = max(float((within + ns * (np.square(ys - mean) + variance)).sum() / ns.sum()), TINY)
        else:
            spread2 = noise2 = (spread2 + noise2) / 2
    mean, variance = _expect(n, y, a + b * x, spread2, noise2)
    return Posterior(np.append(0.0, mean), np.append(0.0, np.sqrt(variance)), float(np.sqrt(noise2)))


def _expect(
    n: np.ndarray, y: np.ndarray, prior: np.ndarray, spread2: float, noise2: float
) -> tuple[np.ndarray, np.ndarray]:
    keep = n * spread2 / (n * spread2 + noise2)
    return prior + keep * (y - prior), spread2 * (1 - keep)


def _fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    centred = x - x.mean()
    slope = float(centred @ y / max(float(centred @ centred), 1e-12))
    return float(y.mean() - slope * x.mean()), slope
