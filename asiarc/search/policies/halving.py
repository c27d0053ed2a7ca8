"""Successive halving and its asynchronous kin (Jamieson and Talwalkar 2016; ASHA, arXiv 1810.05934).

Resource is steps first and seeds after: a candidate climbs the rungs of training, and on the last one is trained again
with fresh seeds, all of which count.
"""

from __future__ import annotations

from math import ceil, inf, log, log2

import numpy as np

from asiarc.search.policies.common import by_posterior, first_runs, leading_quarter
from asiarc.search.protocol import EPS, Board, Evaluation, Recommendation


class SuccessiveHalving:
    """Halves the candidates of a generation (all of them, where the board names none) when they are all there.

    A generation has its share of the budget, and each round an equal share of that; a round keeps the best half. It
    trains every survivor on the deepest rung that its share pays for, as often as it pays for.
    """

    def next(self, board: Board, rng: np.random.Generator) -> list[Evaluation]:
        """See `Policy`."""
        size = board.generation or board.expected
        for first in range(1, board.expected + 1, size):
            last = min(first + size - 1, board.expected)
            if last > board.entered:
                return []
            if runs := self._halve(board, range(first, last + 1)):
                return runs
        return []

    def _halve(self, board: Board, generation: range) -> list[Evaluation]:
        """Rounds are told apart by what each candidate has cost: survivors of a round cost more.

        Their sizes count those that turned out unfit, too, so that a round is the same before and after one does.
        """
        alive, cost = [i for i in generation if board.fit[i]], board.counts @ board.costs
        size, left = len(generation), board.budget * len(generation) / board.expected
        target = 0.0  # what a member of the round has cost at its end
        for rounds_left in range(ceil(log2(max(2, size))), 0, -1):
            rung, times = self._level(board, left / rounds_left / size)
            target += times * board.costs[rung]
            left -= size * times * board.costs[rung]
            if missing := [i for i in alive if cost[i] < target - EPS]:
                return [run for i in missing for run in board.evaluate(i, rung, times)]
            size = ceil(size / 2)
            survivors = [i for i in alive if cost[i] > target + EPS]
            alive = survivors or [i for i in board.ranking() if i in alive][:size]
        return []

    @staticmethod
    def _level(board: Board, share: float) -> tuple[int, int]:
        """The deepest rung that `share` pays for and how often; at least the first rung, once."""
        rung = max((r for r, cost in enumerate(board.costs) if cost <= share + EPS), default=0)
        return rung, max(1, int((share + EPS) / board.costs[rung]))

    def parents(self, board: Board, rng: np.random.Generator) -> tuple[int, list[int]]:
        """See `Policy`."""
        return leading_quarter(board, rng)

    def recommend(self, board: Board) -> list[Recommendation]:
        """See `Policy`."""
        return by_posterior(board)


class Asha(SuccessiveHalving):
    """Asynchronous halving: whoever is in the best 1/eta of those that finished a level goes on to the next.

    Levels are the rungs with one seed each, then eta, eta², ... seeds on the last. When nobody can go on, a newcomer
    starts on the first level. While there are newcomers, what their first level costs is set aside and nobody climbs
    higher than halving them all would; after that the share that goes on is doubled where nobody can.
    """

    def __init__(self, eta: int = 3) -> None:
        self.eta = eta

    def next(self, board: Board, rng: np.random.Generator) -> list[Evaluation]:
        """See `Policy`."""
        if runs := first_runs(board, 0):
            return runs
        share = 1 / self.eta
        while not (runs := self._promoted(board, share)) and board.is_full and share < 1:
            share = min(1.0, 2 * share)
        set_aside = (board.expected - board.entered) * board.costs[0]
        return runs if sum(board.costs[run.rung] for run in runs) <= board.left - set_aside or board.is_full else []

    def _promoted(self, board: Board, share: float) -> list[Evaluation]:
        fit = board.fit_candidates
        levels = self._levels(board)
        last = inf if board.is_full else int(log(board.expected) / log(self.eta) + EPS)
        for level in sorted({level for level in levels[fit].tolist() if level < last}, reverse=True):
            rung = min(level, board.top)
            finished = fit[levels[fit] >= level]
            order = finished[np.argsort(-board.means(rung)[finished], kind="stable")]
            going = [i for i in order[: int(share * len(order) + EPS)] if levels[i] == level]
            if going:
                seeds = self.eta ** max(0, level - board.top)
                times = seeds * (self.eta - 1) if level >= board.top else 1
                return [run for i in going for run in board.evaluate(i, min(rung + 1, board.top), times)]
        return []

    def _levels(self, board: Board) -> np.ndarray:
        """The level that each has finished; -1 for none."""
        deepest, _ = board.deepest()
        seeds = np.maximum(1, board.counts[: len(deepest), board.top])
        return np.where(deepest < board.top, deepest, board.top + (np.log(seeds) / log(self.eta) + EPS).astype(int))
