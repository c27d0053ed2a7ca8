"""Was the researcher right? Its predictions, made before training, against what was measured.

A prediction names a task and a direction against the parent, and may name a size. What happened is the difference of
the two gains; within the noise of a short trial it is "same". Being right is compared with the best constant guess,
which knows the base rates and nothing of the candidates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from asiarc.evidence.shares import wilson

Direction = Literal["better", "worse", "same"]
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


def score(predicted: str, child: Mapping[str, float], parent: Mapping[str, float], *, noise: float) -> list[Scored]:
    """The predictions of one proposal on tasks that were measured for both; gains by task, over one baseline."""
    found = []
    for task, direction, size in _PREDICTED.findall(predicted):
        if task in child and task in parent:
            change = child[task] - parent[task]
            happened: Direction = "same" if abs(change) < noise else "better" if change > 0 else "worse"
            found.append(Scored(task, direction, happened, change, float(size.rstrip(".")) if size else None))
    return found


def scored_predictions(
    proposals: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], *, noise: float
) -> list[tuple[int, Scored]]:
    """(generation, prediction) of a run, in order; a parent that was not of this run is the baseline, with gain 0."""
    gains = {row["address"]: _by_task(row["scores"]) for row in results if row["gain"] is not None}
    found = []
    for row in proposals:
        child = gains.get(row["address"])
        if child is None:
            continue
        parent = gains.get(row["parents"][0] if row["parents"] else "", dict.fromkeys(child, 0.0))
        found += [(row["generation"], s) for s in score(row["predicted"], child, parent, noise=noise)]
    return found


def _by_task(scores: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    return {task: s["gain"] for task, s in scores.items() if s["gain"] is not None}


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
