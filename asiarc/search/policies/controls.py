"""The controls that a policy has to beat: luck, and brute force."""

from __future__ import annotations

import numpy as np

from asiarc.search.policies.common import by_mean, first_runs
from asiarc.search.protocol import ROOT, Board, Evaluation, Recommendation, draw_references


class RandomSearch:
    """Any parent, and any candidate trained again, whatever was learned; the best mean is reported as observed."""

    def next(self, board: Board, rng: np.random.Generator) -> list[Evaluation]:
        """See `Policy`."""
        if runs := first_runs(board):
            return runs
        fit = board.fit_candidates
        return board.evaluate(rng.choice(fit)) if board.is_full and len(fit) else []

    def parents(self, board: Board, rng: np.random.Generator) -> tuple[int, list[int]]:
        """See `Policy`."""
        pool = [ROOT, *map(int, board.fit_candidates)]
        parent = pool[rng.integers(len(pool))]
        return parent, draw_references([i for i in pool if i != parent], rng)

    def recommend(self, board: Board) -> list[Recommendation]:
        """See `Policy`."""
        return by_mean(board)


class BestOfN:
    """Every candidate from start_from and equally often: `runs` times, or as often as the budget allows.

    The best mean is reported as observed. With ``runs=1`` it is the single-run search that the winner's curse is about.
    """

    def __init__(self, runs: int | None = None) -> None:
        self.runs = runs

    def next(self, board: Board, rng: np.random.Generator) -> list[Evaluation]:
        """See `Policy`."""
        runs = self.runs or max(1, int(board.budget / board.expected))
        fit = board.fit_candidates
        missing = runs - board.counts[fit, board.top]
        wanted = zip(fit[missing > 0], missing[missing > 0], strict=True)
        return [run for i, times in wanted for run in board.evaluate(i, times=int(times))]

    def parents(self, board: Board, rng: np.random.Generator) -> tuple[int, list[int]]:
        """See `Policy`."""
        return ROOT, []

    def recommend(self, board: Board) -> list[Recommendation]:
        """See `Policy`."""
        return by_mean(board)
