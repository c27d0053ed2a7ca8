"""Worlds small enough to be solved by hand or by brute force."""

from __future__ import annotations

import numpy as np

from asiarc.search.protocol import Board, Traits


class Plain:
    """Candidates of stated worth, proposed in order; `noise[item][seed]` is added, on every rung alike."""

    reference_loss = 4.575

    def __init__(self, worth, noise=None, costs=(1.0,), traits=None):
        self.truth = np.array(worth, float)
        self.noise = np.zeros((len(worth), 256)) if noise is None else np.asarray(noise, float)
        self.costs = tuple(costs)
        self.traits = traits or [Traits()] * len(worth)
        self.proposed = 0

    def propose(self, parent):
        self.proposed += 1
        return self.proposed - 1, self.traits[self.proposed - 1]

    def measure(self, item, rung, seed):
        return float(self.truth[item] + self.noise[item, seed])


def board_of(gains, *, costs=(1.0,), expected=None, budget=1e9, traits=None, loss=4.575):
    """A board on which candidate i + 1 showed `gains[i]`: a list for the last rung, or {rung: list}."""
    board = Board(tuple(costs), budget, expected or len(gains), loss)
    for i, shown in enumerate(gains):
        index = board.enter(traits[i] if traits else Traits())
        by_rung = shown if isinstance(shown, dict) else {board.top: shown}
        for rung, values in by_rung.items():
            for run, gain in zip(board.evaluate(index, rung, len(values)), values, strict=True):
                board.observe(run, gain)
    return board


def generator(seed=0):
    return np.random.default_rng(seed)
