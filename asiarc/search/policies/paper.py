"""ASI-Arch's policy (arXiv 2507.18074, sections 3.2 and 4.1; its released `candidate_manager.py`)."""

from __future__ import annotations

import math

import numpy as np

from asiarc.evidence.paper import fitness
from asiarc.search.policies.common import first_runs, on_top
from asiarc.search.protocol import ROOT, Board, Evaluation, Recommendation, draw_references

BASE_LOSS, BASE_BENCHMARK = 4.575, 0.224
"""DeltaNet's numbers in the authors' fitness; here `start_from` stands in its place."""
BAND = 0.1
"""Share of start_from's loss within which a candidate must stay to enter the pool: more is taken for a leak."""
PAR = 5.0
"""The rubric's mark of DeltaNet: start_from's, and that of whoever the judge has not marked."""


def paper_fitness(gain: float, reference_loss: float | None, mark: float = PAR) -> float:
    """The paper's fitness of a candidate that is `gain` below `reference_loss`, scaled so that this is DeltaNet's.

    The loss and the judge's mark (1 to 10) tell candidates apart; the benchmark's term is held at the baseline's 0.5.
    Without a loss to scale by it is the gain itself, which orders candidates alike up to the fitness's clamp.
    """
    if reference_loss is None:
        return gain
    loss = (reference_loss - gain) / reference_loss
    return fitness(BASE_LOSS * loss, BASE_BENCHMARK, mark)


class PaperPolicy:
    """One run a candidate, on the last rung, and never again. A pool of the best 50 by fitness, refreshed after each 50
    scored candidates and not at all for the first 200; the parent is uniform over ranks 1 to 10, four references over
    ranks 11 to 50. The fittest is recommended, with the gain that its run showed.

    `band=None` leaves out the filter on the loss: at a small scale mixers lie further apart than the paper's 10 %.
    """

    def __init__(self, capacity: int = 50, refresh: int = 50, cold_start: int = 200, band: float | None = BAND) -> None:
        self.capacity, self.refresh, self.cold_start, self.band = capacity, refresh, cold_start, band

    def next(self, board: Board, rng: np.random.Generator) -> list[Evaluation]:
        """See `Policy`."""
        return first_runs(board)

    def parents(self, board: Board, rng: np.random.Generator) -> tuple[int, list[int]]:
        """See `Policy`."""
        pool = self.pool(board)
        return pool[rng.integers(len(pool[:10]))], draw_references(pool[10:], rng)

    def pool(self, board: Board) -> list[int]:
        """start_from and candidates as of the last refresh, the fittest first, `capacity` at most."""
        scored = on_top(board)
        seen = len(scored) // self.refresh * self.refresh if len(scored) >= self.cold_start else 0
        return self._by_fitness(board, [ROOT, *self._passing(board, scored[:seen])])[: self.capacity]

    def recommend(self, board: Board) -> list[Recommendation]:
        """See `Policy`."""
        scored, means = on_top(board), board.means()
        order = self._by_fitness(board, self._passing(board, scored) or scored)
        return [Recommendation(i, float(means[i])) for i in order]

    def _passing(self, board: Board, scored: list[int]) -> list[int]:
        loss = board.reference_loss
        most = math.inf if self.band is None or loss is None else self.band * loss
        means = board.means()
        return [i for i in scored if abs(means[i]) < most]

    @staticmethod
    def _by_fitness(board: Board, members: list[int]) -> list[int]:
        means, marks = board.means(), np.nan_to_num(board.marks, nan=PAR)
        fitnesses = {i: paper_fitness(float(means[i]), board.reference_loss, marks[i]) for i in members}
        return sorted(members, key=lambda i: (-fitnesses[i], i))
