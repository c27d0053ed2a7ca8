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
    means = board.means()
    order = sorted(_on_top(board), key=lambda i: -means[i])
    return [Recommendation(i, float(means[i])) for i in order] or _leading(board)


def by_posterior(board: Board, screen: int | None = None) -> list[Recommendation]:
    """Those that reached the last rung, by their posterior mean, reported as that."""
    means = posterior(board, screen).mean
    order = sorted(_on_top(board), key=lambda i: -means[i])
    return [Recommendation(i, float(means[i])) for i in order] or _leading(board)


def _on_top(board: Board) -> list[int]:
    return [int(i) for i in board.fit_candidates if board.counts[i, board.top]]


def _leading(board: Board) -> list[Recommendation]:
    """Where nobody reached the last rung: the ranking, with what each showed."""
    deepest, gains = board.deepest()
    return [
        Recommendation(i, float(gains[i]))
        for i in board.ranking()
        if i != ROOT and board.fit[i] and deepest[i] >= 0
    ]
