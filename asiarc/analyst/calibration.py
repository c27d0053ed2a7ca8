"""Was the researcher right? Its predictions, made before training, against what was measured.

A prediction names a task and a direction against the parent, and may name a size. What happened is the gain over the
parent at the deepest rung that both stand on; where the two cannot be told apart it is "same". Being right is compared
with the best constant guess, which knows the base rates and nothing of the candidates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from asiarc.archive.gains import Direction, Gain, Gains
from asiarc.evidence.shares import wilson

_PREDICTED = re.compile(r"(\S+) (better|worse|same)(?: by ([0-9.]+))?")


@dataclass(frozen=True)
class Scored:
    """One prediction and what happened. Sizes are gains over the parent; `size` None where none was named."""

    task: str
    predicted: Direction
    happened: Direction
    change: float
    size: float | None

    @property
    def is_right(self) -> bool:
        """Whether the direction was."""
        return self.predicted == self.happened

    @property
    def error(self) -> float | None:
        """Predicted change minus what was measured; None where no size was named."""
        sign = {"better": 1, "worse": -1, "same": 0}[self.predicted]
        return None if self.size is None else sign * self.size - self.change


def score(predicted: str, changes: Mapping[str, Gain]) -> list[Scored]:
    """The predictions of one proposal on tasks that it shares a rung with its parent on; its gains over the parent."""
    found = []
    for task, direction, size in _PREDICTED.findall(predicted):
        if task in changes:
            gain = changes[task]
            found.append(Scored(task, direction, gain.direction, gain.mean, float(size.rstrip(".")) if size else None))
    return found


def scored_predictions(
    proposals: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], gains: Gains, start: str
) -> list[tuple[int, Scored]]:
    """(generation, prediction) of a run, in order; `start` stands for a parent that was not of this run."""
    scored = {row["address"] for row in results if row["gain"] is not None}
    found = []
    for row in proposals:
        if row["address"] in scored:
            parent = next((one for one in row["parents"][:1] if one in scored), start)
            found += [(row["generation"], s) for s in score(row["predicted"], gains.by_task(row["address"], parent))]
    return found


@dataclass(frozen=True)
class Calibration:
    """Predictions of some generations: how many, how many right (Wilson 95 % interval), the best constant guess."""

    first: int
    last: int
    n: int
    right: float
    low: float
    high: float
    constant: float
    error: float | None  # mean absolute error of the sizes

    def line(self) -> str:
        """As a sentence."""
        sizes = "" if self.error is None else f", sizes off by {self.error:.3f} on average"
        return (
            f"generations {self.first} to {self.last}: {self.right:.2f} [{self.low:.2f}, {self.high:.2f}] of {self.n} "
            f"directions right, the best constant guess {self.constant:.2f}{sizes}"
        )


def calibration(found: Sequence[tuple[int, Scored]], blocks: int = 4) -> list[Calibration]:
    """Calibration over time: the generations in up to `blocks` equal parts."""
    generations = sorted({generation for generation, _ in found})
    size = max(1, -(-len(generations) // blocks))
    parts = [generations[start : start + size] for start in range(0, len(generations), size)]
    return [_of(part[0], part[-1], [s for g, s in found if g in part]) for part in parts]


def _of(first: int, last: int, scored: Sequence[Scored]) -> Calibration:
    n = len(scored)
    right = sum(s.is_right for s in scored)
    low, high = wilson(right, n)
    constant = Counter(s.happened for s in scored).most_common(1)[0][1] / n
    errors = [abs(s.error) for s in scored if s.error is not None]
    return Calibration(first, last, n, right / n, low, high, constant, fmean(errors) if errors else None)


def lines(found: Iterable[tuple[int, Scored]]) -> list[str]:
    """Calibration over time as text."""
    scored = list(found)
    return [part.line() for part in calibration(scored)] if scored else ["no prediction could be scored"]
