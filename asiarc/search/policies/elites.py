"""A MAP-Elites archive (Mouret and Clune 2015) over mechanism, state and speed."""

from __future__ import annotations

from math import log2

import numpy as np

from asiarc.search.policies.common import by_posterior, first_runs
from asiarc.search.protocol import ROOT, Board, Evaluation, Recommendation, Traits, draw_references

Cell = tuple[str, int, int]
LEAST = 2.0**-10  # of start_from: a mixer may have no state at all


class MapElites:
    """Keeps the best candidate of every cell, so that a mechanism which starts behind is not forgotten.

    Every newcomer is trained once on the last rung. The parent is uniform over the elites, references are other elites;
    with no newcomers left, the elite with the fewest runs is trained again.
    """

    def next(self, board: Board, rng: np.random.Generator) -> list[Evaluation]:
        """See `Policy`."""
        if runs := first_runs(board):
            return runs
        elites = [i for i in self.elites(board).values() if i != ROOT and board.fit[i]]
        if not board.is_full or not elites:
            return []
        return board.evaluate(min(elites, key=lambda i: (board.counts[i, board.top], i)))

    def parents(self, board: Board, rng: np.random.Generator) -> tuple[int, list[int]]:
        """See `Policy`."""
        elites = list(self.elites(board).values())
        parent = elites[rng.integers(len(elites))]
        return parent, draw_references([i for i in elites if i != parent], rng)

    def recommend(self, board: Board) -> list[Recommendation]:
        """See `Policy`."""
        return by_posterior(board)

    @staticmethod
    def elites(board: Board) -> dict[Cell, int]:
        """The best of each cell, the best cell first; start_from holds its own until somebody is better."""
        found: dict[Cell, int] = {}
        for i in board.ranking():
            found.setdefault(cell_of(board.traits[i]), i)
        return found


def cell_of(traits: Traits) -> Cell:
    """Mechanism, and the nearest power of two of the state and of half-octaves of FLOPs relative to start_from."""
    state, flops = max(traits.state, LEAST), max(traits.flops, LEAST)
    return traits.mechanism, round(log2(state)), round(2 * log2(flops))
