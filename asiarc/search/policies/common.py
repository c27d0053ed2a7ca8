"""What several policies share: taking in newcomers, drawing among the leading, and the report."""

from __future__ import annotations

import numpy as np

from asiarc.search.estimate import posterior
from asiarc.search.protocol import ROOT, Board, Evaluation, Recommendation, draw_references


def first_runs(board: Board, rung: int | None = None) -> list[Evaluation]:
    """One evaluation, on a rung, of every candidate that has none there."""
    rung = board.top if rung is None else rung
    fit = board.fit_candidates
    return [run for i in fit[board.counts[fit, rung] == 0] for run in board.evaluate(i, rung)]


def leading_quarter(board: Board, rng: np.random.Generator) -> tuple[int, list[int]]:
    """A parent among the best quarter (three at least), weighted by 1/rank; references among the twenty best.

    Only what is fit and has been observed counts.
    """
    known = board.fit[: len(board.traits)] & (board.deepest()[0] >= 0)
    order = [i for i in board.ranking() if known[i] or i == ROOT]
    elite = order[: max(3, len(order) // 4)]
    weights = 1 / np.arange(1, len(elite) + 1)
    parent = elite[rng.choice(len(elite), p=weights / weights.sum())]
    return parent, draw_references([i for i in order[:20] if i != parent], rng)


def by_mean(board: Board) -> list[Recommendation]:
    """By the mean on the last rung, reported as observed: biased by having been picked."""
    return _by(board, board.means())


def by_posterior(board: Board, screen: int | None = None) -> list[Recommendation]:
    """Those that reached the last rung, by their posterior mean, reported as that."""
    return _by(board, posterior(board, screen).mean)


def _by(board: Board, worth_N: np.ndarray) -> list[Recommendation]:
    order = sorted(on_top(board), key=lambda i: -worth_N[i])
    return [Recommendation(i, float(worth_N[i])) for i in order] or _leading(board)


def on_top(board: Board) -> list[int]:
    """The fit candidates that were trained on the last rung, in the order of their proposal."""
    return [int(i) for i in board.fit_candidates if board.counts[i, board.top]]


def _leading(board: Board) -> list[Recommendation]:
    """Where nobody reached the last rung: the ranking, with what each showed."""
    deepest, gains = board.deepest()
    return [
        Recommendation(i, float(gains[i])) for i in board.ranking() if i != ROOT and board.fit[i] and deepest[i] >= 0
    ]
