"""Who is ahead of whom in explore, like with like: at a rung that both stand on, with the luck of seeds taken out.

At each rung (task and steps) score = mixer effect + seed effect, fitted over every candidate and baseline that was
trained there (`asiarc.evidence.additive`). A gain is a difference of two mixer effects at the deepest rung that both
stand on; where there is none, nothing is said. The spread of residuals is pooled over the rungs of a task.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from asiarc.evidence.additive import Layout, t_factor
from asiarc.tasks import get_task

if TYPE_CHECKING:
    from asiarc.archive.store import Archive

NOISE = 0.02  # bits a byte or accuracy: what is within the noise of a short trial where no seed was repeated
Scores = Mapping[tuple[str, int], Mapping[tuple[str, str], float]]  # (task, steps) to (address, seed) to score
Direction = Literal["better", "worse", "same"]
_SCORED = """
    SELECT t.task, t.steps, t.address, t.seed, t.value FROM json_each(?1) a
    CROSS JOIN trials t ON t.address = a.value
    CROSS JOIN uses u ON u.run = ?2 AND u.stage = 'explore' AND u.trial = t.key
    WHERE t.outcome = 'scored' AND t.seed NOT LIKE '%tuning%'
"""


@dataclass(frozen=True)
class Gain:
    """How far one mixer is ahead of another in explore, positive is better, in `unit`.

    `error` is its standard error with `freedom` degrees (None where no seed was repeated), `steps` its rung (one of
    each task that it is a mean over), `seeds` and `others` those that the two sides were trained on there.
    """

    mean: float
    error: float | None
    freedom: int
    steps: tuple[int, ...]
    seeds: tuple[str, ...]
    others: tuple[str, ...]
    unit: str

    @property
    def radius(self) -> float | None:
        """Half of the 95 % interval; None where nothing shows the noise."""
        return None if self.error is None else t_factor(self.freedom) * self.error

    @property
    def direction(self) -> Direction:
        """Which way it points; "same" where the two cannot be told apart."""
        if abs(self.mean) < (NOISE if self.radius is None else max(self.radius, 1e-12)):
            return "same"
        return "better" if self.mean > 0 else "worse"

    @property
    def size(self) -> str:
        """``+0.031 [+0.010, +0.052] bits a byte``."""
        within = "" if self.radius is None else f" [{self.mean - self.radius:+.3f}, {self.mean + self.radius:+.3f}]"
        return f"{self.mean:+.3f}{within} {self.unit}".strip()

    @property
    def where(self) -> str:
        """``at 60 steps, seed 0``; with the other side's seeds where they are not the same."""
        against = "" if self.others == self.seeds else f" against {_seeds(self.others)}"
        return f"at {' and '.join(map(str, dict.fromkeys(self.steps)))} steps, {_seeds(self.seeds)}{against}"

    def than(self, other: str) -> str:
        """As words: ``0.080 [0.050, 0.110] bits a byte behind its parent at 60 steps, seed 0``."""
        if self.direction == "same":
            return f"cannot be told from {other} ({self.size} {self.where})"
        near, far = sorted(abs(self.mean + side * (self.radius or 0.0)) for side in (-1, 1))
        within = "" if self.radius is None else f" [{near:.3f}, {far:.3f}]"
        size = f"{abs(self.mean):.3f}{within} {self.unit}".strip()
        return f"is {size} {'ahead of' if self.mean > 0 else 'behind'} {other} {self.where}"


def _seeds(seeds: Sequence[str]) -> str:
    """``seeds 0 and 1``; many are counted."""
    short = [seed.rpartition("/")[2] for seed in seeds]
    if len(short) > 3:
        return f"{len(short)} seeds"
    return f"seed{'s' * (len(short) > 1)} {' and '.join(short)}"


class Gains:
    """The gains of one run's explore; a gain over all is the mean over the tasks that decide."""

    def __init__(self, scores: Scores, deciding: Sequence[str]) -> None:
        self.deciding = tuple(deciding)
        self._rungs: dict[str, dict[int, Layout]] = defaultdict(dict)
        for (task, steps), some in sorted(scores.items()):
            self._rungs[task][steps] = Layout(some)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What anything was scored on."""
        return tuple(self._rungs)

    def on(self, task: str, a: str, b: str) -> Gain | None:
        """The gain of `a` over `b` on one task, at the deepest rung that both stand on."""
        for steps, rung in sorted(self._rungs.get(task, {}).items(), reverse=True):
            found = rung.difference(a, b)
            if found is not None:
                noise, freedom = self._noise(task)
                error = None if noise is None else noise * sqrt(found.leverage)
                seeds = tuple(rung.seeds_of[a]), tuple(rung.seeds_of[b])
                unit = "accuracy" if get_task(task).higher_is_better else "bits a byte"
                return Gain(found.mean, error, freedom, (steps,), *seeds, unit)
        return None

    def over(self, a: str, b: str) -> Gain | None:
        """The gain of `a` over `b`, the mean over the tasks that decide; None where one of them has no common rung."""
        each = [self.on(task, a, b) for task in self.deciding]
        found = [gain for gain in each if gain is not None]
        if not found or len(found) < len(each):
            return None
        errors = [gain.error for gain in found if gain.error is not None]
        error = sqrt(sum(e * e for e in errors)) / len(found) if len(errors) == len(found) else None
        units = {gain.unit for gain in found}
        return Gain(
            fmean(gain.mean for gain in found), error, min(gain.freedom for gain in found),
            tuple(gain.steps[0] for gain in found), found[0].seeds, found[0].others,
            units.pop() if len(units) == 1 else "",
        )  # fmt: skip

    def by_task(self, a: str, b: str) -> dict[str, Gain]:
        """The gain of `a` over `b` on every task that has a rung that both stand on."""
        found = {task: self.on(task, a, b) for task in self.tasks}
        return {task: gain for task, gain in found.items() if gain is not None}

    def side_by_side(self, addresses: Iterable[str]) -> dict[str, float]:
        """Mixer effects of those that stand on the rung on which most of them do (the deeper of equals), by address."""
        wanted, effects = set(addresses), []
        for task in self.deciding:
            rungs = [fit.effects() for _, fit in sorted(self._rungs.get(task, {}).items())]
            best = max(reversed(rungs), key=lambda found: len(found.keys() & wanted), default={})
            effects.append(best)
        common = wanted.intersection(*effects) if effects else set()
        return {address: fmean(found[address] for found in effects) for address in sorted(common)}

    def _noise(self, task: str) -> tuple[float | None, int]:
        """The spread of one score's residual on a task, and its degrees of freedom."""
        rungs = self._rungs[task].values()
        freedom = sum(rung.freedom for rung in rungs)
        return (sqrt(sum(rung.squares for rung in rungs) / freedom), freedom) if freedom else (None, 0)


def gains_of(archive: Archive, run: str, addresses: Iterable[str], deciding: Sequence[str]) -> Gains:
    """The gains among some candidates of a run and its baselines, from what explore has trained of them so far."""
    baselines = (archive.run(run) or {"identity": {}})["identity"].get("baselines", {})
    wanted = json.dumps(sorted({*addresses, *baselines.values()}))
    scores: dict[tuple[str, int], dict[tuple[str, str], float]] = defaultdict(dict)
    for row in archive.rows(_SCORED, wanted, run):
        sign = 1 if get_task(row["task"]).higher_is_better else -1
        scores[row["task"], row["steps"]][row["address"], row["seed"]] = sign * row["value"]
    return Gains(scores, deciding)
