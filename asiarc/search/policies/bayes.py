"""Policies that know how uncertain they are: parents and re-evaluations by the posterior of `asiarc.search.estimate`.

Every newcomer is screened on a cheap rung (or trained once on the first, where none is). The rest of the
budget goes to the last rung, where any candidate may be trained again with a fresh seed: `early` of it while candidates
are still being proposed, in runs that it pays whole, so that parents are not chosen by a lucky run, and what is left at
the end, when the last newcomers are known too. Two rules say
who is trained next; both report the posterior mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from asiarc.search.estimate import Posterior, posterior
from asiarc.search.policies.common import by_posterior, first_runs
from asiarc.search.protocol import EPS, ROOT, Board, Evaluation, Recommendation, draw_references


class Screened(ABC):
    """Newcomers are screened on the deepest rung that costs at most `screen` of a full run, or else on the first; then
    the `batch` candidates with the highest index are trained again."""

    def __init__(self, *, screen: float = 0.25, early: float = 0.25, batch: int = 2) -> None:
        self.screen, self.early, self.batch = screen, early, batch

    @abstractmethod
    def index(self, known: Posterior, board: Board, rng: np.random.Generator) -> np.ndarray:
        """What each of start_from and the candidates promises; the highest are trained next."""

    def next(self, board: Board, rng: np.random.Generator) -> list[Evaluation]:
        """See `Policy`."""
        if runs := first_runs(board, self._rung(board)):
            return runs
        fit, due = board.fit_candidates, self._due(board)
        if not len(fit) or not due:
            return []
        promise = self.index(posterior(board, self._rung(board)), board, rng)[fit]
        chosen = fit[np.argsort(-promise, kind="stable")[:due]]
        return [run for i in chosen for run in board.evaluate(i)]

    def _rung(self, board: Board) -> int:
        return max((rung for rung, cost in enumerate(board.costs) if cost <= self.screen + EPS), default=0)

    def _due(self, board: Board) -> int:
        """How many full runs may be begun: a batch; while candidates are still to come, no more than is paid whole."""
        if board.is_full:
            return self.batch
        screening = board.costs[self._rung(board)]
        free = board.budget - screening * board.expected
        allowed = board.entered * (screening + self.early * free / board.expected)
        return max(0, min(self.batch, int(allowed - board.spent + EPS)))

    def parents(self, board: Board, rng: np.random.Generator) -> tuple[int, list[int]]:
        """See `Policy`. The parent is who is best in one draw from the posterior (Thompson) among those that were
        screened; references come next.
        """
        rung = self._rung(board)
        known = posterior(board, rung)
        drawn = known.mean + known.sd * rng.standard_normal(len(known.mean))
        screened = [ROOT, *(int(i) for i in board.fit_candidates if board.counts[i, rung:].any())]
        parent, *others = sorted(screened, key=lambda i: -drawn[i])
        return parent, draw_references(others[:20], rng)

    def recommend(self, board: Board) -> list[Recommendation]:
        """See `Policy`."""
        return by_posterior(board, self._rung(board))


class Thompson(Screened):
    """Trains who is best in one draw from the posterior."""

    def index(self, known: Posterior, board: Board, rng: np.random.Generator) -> np.ndarray:
        """theta drawn from its posterior."""
        return known.mean + known.sd * rng.standard_normal(len(known.mean))


class UpperBound(Screened):
    """Trains who could be best: the highest posterior mean plus `width` standard deviations."""

    width = 3.0

    def index(self, known: Posterior, board: Board, rng: np.random.Generator) -> np.ndarray:
        """The upper bound."""
        return known.mean + self.width * known.sd


def screened_on(policy: object, board: Board) -> int | None:
    """The rung that a policy screens newcomers on, which its estimates lean on; None where it has none."""
    return policy._rung(board) if isinstance(policy, Screened) else None
