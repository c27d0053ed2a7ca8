"""What a search policy sees and decides, the same in a campaign and on the replay bench.

A driver asks `next` and trains what it answers; when it answers nothing, new candidates are proposed from `parents`;
at the end `recommend` ranks them and says what each is worth. A policy is a pure function of the board and the
generator it is handed: killed and resumed, it decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

ROOT = 0
"""The index of `start_from`: a parent like any other, never trained again and never recommended."""
REFERENCES = 4
EPS = 1e-9  # of a budget


@dataclass(frozen=True)
class Traits:
    """What a candidate is, before it is trained: its mechanism, and its cost relative to `start_from`."""

    mechanism: str = ""
    state: float = 1.0
    flops: float = 1.0


@dataclass(frozen=True)
class Evaluation:
    """One training to be run: a candidate on a rung with a seed. Seeds count from 0 for every candidate."""

    candidate: int
    rung: int
    seed: int


@dataclass(frozen=True)
class Recommendation:
    """A candidate that a search would go on with, and its gain as the search would report it."""

    candidate: int
    estimate: float


@dataclass
class Board:
    """Everything observed so far. Gains are over `start_from`, larger is better, in the unit of `reference_loss`, its
    loss (None where it has none or it is not known).

    `costs` are those of one evaluation on each rung, in units of one on the last; `budget` and `spent` in the same
    unit. `expected` candidates may be proposed in all. Arrays have a row a candidate, row 0 is `start_from` with gain
    0, and a column a rung: `counts` of evaluations, `totals` and `squares` of their gains. `fit` is False for a
    candidate that was not admitted, whose training failed or that lost a capability: it is neither trained again nor
    recommended. `generation` candidates are proposed between two looks at the board; 0 stands for any number.
    """

    costs: tuple[float, ...]
    budget: float
    expected: int
    reference_loss: float | None
    traits: list[Traits] = field(default_factory=lambda: [Traits()])
    spent: float = 0.0
    generation: int = 0

    def __post_init__(self) -> None:
        assert self.costs and self.costs[-1] == 1.0 and list(self.costs) == sorted(self.costs), self.costs
        shape = (self.expected + 1, len(self.costs))
        self.counts, self.totals, self.squares = np.zeros(shape, int), np.zeros(shape), np.zeros(shape)
        self.fit = np.ones(self.expected + 1, bool)
        self.marks = np.full(self.expected + 1, np.nan)

    @property
    def top(self) -> int:
        """The last rung: the one that truth is measured on."""
        return len(self.costs) - 1

    @property
    def entered(self) -> int:
        """Candidates proposed so far; their indices are 1 to `entered`."""
        return len(self.traits) - 1

    @property
    def candidates(self) -> np.ndarray:
        """Indices of the candidates proposed so far."""
        return np.arange(1, len(self.traits))

    @property
    def fit_candidates(self) -> np.ndarray:
        """Indices of the candidates that may be trained on and recommended."""
        return np.flatnonzero(self.fit[: len(self.traits)])[1:]

    @property
    def left(self) -> float:
        """What is left of the budget."""
        return self.budget - self.spent

    @property
    def is_full(self) -> bool:
        """Whether every candidate that may be proposed has been."""
        return self.entered == self.expected

    def enter(self, traits: Traits | None) -> int:
        """A new candidate's index; without traits it is none that may be trained."""
        assert not self.is_full, f"{self.expected} candidates were declared"
        self.traits.append(traits or Traits())
        self.fit[self.entered] = traits is not None
        return self.entered

    def observe(self, evaluation: Evaluation, gain: float) -> None:
        """Note an evaluation that was run, with the gain it showed."""
        i, rung = evaluation.candidate, evaluation.rung
        assert 0 < i <= self.entered and evaluation.seed == self.counts[i, rung], evaluation
        self.counts[i, rung] += 1
        self.totals[i, rung] += gain
        self.squares[i, rung] += gain * gain
        self.spent += self.costs[rung]

    def forget(self, candidate: int) -> None:
        """Take back what was observed of a candidate, and its price: another version stands in its place."""
        self.spent -= float(self.counts[candidate] @ self.costs)
        for array in (self.counts, self.totals, self.squares):
            array[candidate] = 0
        self.fit[candidate], self.marks[candidate] = True, np.nan

    def payable(self, wanted: Sequence[Evaluation]) -> list[Evaluation]:
        """The first of some evaluations, as far as the budget goes."""
        left, found = self.left + EPS, []
        for one in wanted:
            left -= self.costs[one.rung]
            if left < 0:
                break
            found.append(one)
        return found

    def paid(self, wanted: Sequence[Evaluation]) -> list[Evaluation]:
        """What of some evaluations is run: as far as the budget goes, and a candidate's first in any case."""
        return self.payable(wanted) or [one for one in wanted if not self.counts[one.candidate].any()]

    def part(self, rows: Sequence[int]) -> Board:
        """A board of start_from, which comes first in `rows`, and some candidates: for a choice among them."""
        assert rows[0] == ROOT, rows
        found = Board(self.costs, self.budget, len(rows) - 1, self.reference_loss, [self.traits[i] for i in rows])
        found.counts, found.totals, found.squares, found.fit, found.marks = (
            array[rows] for array in (self.counts, self.totals, self.squares, self.fit, self.marks)
        )
        return found

    def evaluate(self, candidate: int, rung: int | None = None, times: int = 1) -> list[Evaluation]:
        """The candidate's next `times` evaluations on a rung (the last one when none is named)."""
        rung = self.top if rung is None else rung
        seen = int(self.counts[candidate, rung])
        return [Evaluation(int(candidate), rung, seed) for seed in range(seen, seen + times)]

    def means(self, rung: int | None = None) -> np.ndarray:
        """Mean gain of start_from (0) and every candidate on a rung, NaN where nothing was observed."""
        rung, rows = (self.top if rung is None else rung), len(self.traits)
        counts = self.counts[:rows, rung]
        means = np.where(counts > 0, self.totals[:rows, rung] / np.maximum(counts, 1), np.nan)
        means[ROOT] = 0.0
        return means

    def ranking(self) -> list[int]:
        """start_from and all candidates from best to worst.

        What is fit comes first, then the deepest rung, then the larger mean on it, then the earlier proposal.
        start_from stands on the last rung.
        """
        deepest, gains = self.deepest()
        unfit = ~self.fit[: len(self.traits)]
        return [int(i) for i in np.lexsort((-gains, -deepest, unfit))]

    def deepest(self) -> tuple[np.ndarray, np.ndarray]:
        """The deepest rung that observed each (-1: none did), and the mean gain there (-inf)."""
        deepest, gains = np.full(len(self.traits), -1), np.full(len(self.traits), -np.inf)
        for rung in range(len(self.costs)):
            means = self.means(rung)
            seen = ~np.isnan(means)
            deepest[seen], gains[seen] = rung, means[seen]
        return deepest, gains


def draw_references(order: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Up to four different members of a list."""
    chosen = rng.permutation(len(order))[:REFERENCES]
    return [order[i] for i in chosen]


class Policy(Protocol):
    """A way of searching."""

    def next(self, board: Board, rng: np.random.Generator) -> list[Evaluation]:
        """What to train next; nothing: propose another candidate, or end where none may be."""
        ...

    def parents(self, board: Board, rng: np.random.Generator) -> tuple[int, list[int]]:
        """The parent of the next proposal, and up to four references that are shown beside it."""
        ...

    def recommend(self, board: Board) -> list[Recommendation]:
        """The candidates to go on with, the best first, each with the gain to report; empty where none was trained."""
        ...
