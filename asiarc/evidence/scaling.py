"""Laws over sizes, predictions from them, and what became of the predictions.

What carries from one size to the next is the order of the mixers, not the level that all share. So a law is one of
distances from the mean of all mixers on a rung:

- `line`, d(N) = a + b log10 N for each mixer: two numbers of its own. From a single rung, the distance stays as it is.
  Intervals carry the noise of the seeds below through the fit, and that of the seeds to come.
- `shrinking`, d(N) = c N^-g with one g for all: losses come together as sizes grow, and a mixer that keeps its place
  keeps its share of what lies between them. Intervals carry what the fit leaves, seeds' noise and the law's own misfit
  together. It takes two rungs.

Intervals are prediction intervals of what the next rung will measure. They hold if the law does; how often they cover
is the score.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asiarc.core.errors import EvidenceError

Pair = tuple[str, str]
SHRINKS = (-2.0, 4.0)  # where the exponent g is looked for


@dataclass(frozen=True)
class MeasuredRung:
    """What one size measured: losses of every mixer, a value a seed (low is good)."""

    name: str
    parameters: float
    losses: Mapping[str, Sequence[float]]

    def distances(self) -> dict[str, float]:
        """Each mixer's mean loss less the mean over all mixers."""
        means = {mixer: statistics.fmean(values) for mixer, values in self.losses.items()}
        level = statistics.fmean(means.values())
        return {mixer: mean - level for mixer, mean in means.items()}

    def variance(self) -> tuple[float, int]:
        """Of one trial over seeds, pooled over the mixers, and its degrees of freedom."""
        spread = [(statistics.variance(values), len(values) - 1) for values in self.losses.values() if len(values) > 1]
        freedom = sum(degrees for _, degrees in spread)
        return (sum(variance * degrees for variance, degrees in spread) / freedom if freedom else math.nan), freedom


@dataclass(frozen=True)
class Expected:
    """A distance and the interval in which the next rung will measure it."""

    value: float
    low: float
    high: float

    @property
    def tells(self) -> bool:
        """Whether the interval excludes zero: of a pair, that its order is foretold with confidence."""
        return self.low > 0 or self.high < 0

    def covers(self, measured: float) -> bool:
        """Whether what was measured lies in the interval."""
        return self.low <= measured <= self.high


@dataclass(frozen=True)
class Prediction:
    """What the rungs below say of the next: each mixer's distance, and of each pair the first's loss less the
    second's."""

    parameters: float
    rungs: tuple[str, ...]
    mixers: dict[str, Expected]
    pairs: dict[Pair, Expected]

    @property
    def order(self) -> list[str]:
        """The mixers, best first."""
        return sorted(self.mixers, key=lambda mixer: self.mixers[mixer].value)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; a pair is ``first/second``."""
        return {
            "parameters": self.parameters,
            "rungs": list(self.rungs),
            "order": self.order,
            "mixers": {mixer: asdict(found) for mixer, found in self.mixers.items()},
            "pairs": {"/".join(pair): asdict(found) for pair, found in self.pairs.items()},
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Prediction:
        """The inverse of `as_dict`."""
        return cls(
            record["parameters"],
            tuple(record["rungs"]),
            {mixer: Expected(**found) for mixer, found in record["mixers"].items()},
            {(pair.split("/")[0], pair.split("/")[1]): Expected(**found) for pair, found in record["pairs"].items()},
        )


@dataclass(frozen=True)
class Tally:
    """What became of a prediction: pairs in the predicted order of all, and of those that it told apart; intervals of
    pairs that cover what was measured."""

    right: int
    pairs: int
    told_right: int
    told: int
    covered: int

    @property
    def share_right(self) -> float:
        """Of all pairs."""
        return self.right / self.pairs

    @property
    def coverage(self) -> float:
        """Of the pairs' intervals."""
        return self.covered / self.pairs


def predict(rungs: Sequence[MeasuredRung], parameters: float, seeds: int, *, level: float = 0.95) -> Prediction:
    """What a rung of so many parameters and seeds will measure, by a line from the rungs below it.

    Raises `EvidenceError` where there is no rung, they hold other mixers, one has no noise to be seen (a single seed
    everywhere), or they are not below.
    """
    from scipy.stats import t as student

    _check(rungs, parameters)
    weights = _weights([rung.parameters for rung in rungs], parameters)
    noise = [rung.variance() for rung in rungs]
    freedom = sum(degrees for _, degrees in noise)
    radius = float(student.ppf((1 + level) / 2, freedom))
    distances = [rung.distances() for rung in rungs]
    value = {mixer: sum(w * d[mixer] for w, d in zip(weights, distances, strict=True)) for mixer in rungs[0].losses}

    def spread(*mixers: str) -> float:
        """Standard deviation of a sum or difference of mixers' means, the rung to come included."""
        carried = sum(
            w * w * variance / len(rung.losses[mixer])
            for mixer in mixers
            for w, rung, (variance, _) in zip(weights, rungs, noise, strict=True)
        )
        return math.sqrt(carried + len(mixers) * noise[-1][0] / seeds)

    return _prediction(rungs, parameters, value, radius, spread)


def predict_shrinking(rungs: Sequence[MeasuredRung], parameters: float, *, level: float = 0.95) -> Prediction:
    """The same by d(N) = c N^-g, one exponent g for all mixers, by least squares over all rungs.

    What the fit leaves has M (R - 1) - 1 degrees of freedom for M mixers on R rungs. Raises `EvidenceError` as
    `predict` does, and where a single rung is below: it says nothing of g.
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import t as student

    _check(rungs, parameters)
    mixers = sorted(rungs[0].losses)
    freedom = len(mixers) * (len(rungs) - 1) - 1
    if freedom < 1:
        raise EvidenceError("how distances shrink takes two rungs of two mixers at least; train the next rung")
    sizes_R = np.array([rung.parameters for rung in rungs]) / rungs[0].parameters
    distances_RM = np.array([[apart[mixer] for mixer in mixers] for apart in (rung.distances() for rung in rungs)])

    def fitted(exponent: float) -> tuple[Any, Any]:
        """The mixers' c at the first size for an exponent, and what is left."""
        shrunk_R = sizes_R**-exponent
        c_M = shrunk_R @ distances_RM / (shrunk_R @ shrunk_R)
        return c_M, distances_RM - np.outer(shrunk_R, c_M)

    exponent = float(minimize_scalar(lambda g: float((fitted(g)[1] ** 2).sum()), bounds=SHRINKS, method="bounded").x)
    c_M, left_RM = fitted(exponent)
    shrunk_R, shrunk = sizes_R**-exponent, (parameters / rungs[0].parameters) ** -exponent
    variance = float((left_RM**2).sum()) / freedom
    one = variance * (1 + shrunk**2 / float(shrunk_R @ shrunk_R))  # of c, and of what the law leaves on the next rung
    value = {mixer: shrunk * float(c) for mixer, c in zip(mixers, c_M, strict=True)}
    radius = float(student.ppf((1 + level) / 2, freedom))
    return _prediction(rungs, parameters, value, radius, lambda *some: math.sqrt(len(some) * one))


def _prediction(
    rungs: Sequence[MeasuredRung],
    parameters: float,
    value: Mapping[str, float],
    radius: float,
    spread: Callable[..., float],
) -> Prediction:
    """Values with their intervals, of each mixer and each pair."""

    def foretold(found: float, sd: float) -> Expected:
        return Expected(found, found - radius * sd, found + radius * sd)

    return Prediction(
        parameters,
        tuple(rung.name for rung in rungs),
        {mixer: foretold(value[mixer], spread(mixer)) for mixer in value},
        {
            (a, b): foretold(value[a] - value[b], spread(a, b))
            for a, b in itertools.combinations(sorted(value), 2)
        },
    )  # fmt: skip


def score(prediction: Prediction, measured: MeasuredRung) -> Tally:
    """What a rung that was trained after the prediction says of it. `EvidenceError` where it lacks a mixer of it."""
    if missing := prediction.mixers.keys() - measured.losses.keys():
        raise EvidenceError(f"the rung {measured.name} has no trial of {', '.join(sorted(missing))}; train it on")
    means = {mixer: statistics.fmean(values) for mixer, values in measured.losses.items()}
    found = [(foretold, means[a] - means[b]) for (a, b), foretold in prediction.pairs.items()]
    right = [foretold.value * gap > 0 for foretold, gap in found]
    told = [is_right for is_right, (foretold, _) in zip(right, found, strict=True) if foretold.tells]
    covered = sum(foretold.covers(gap) for foretold, gap in found)
    return Tally(sum(right), len(right), sum(told), len(told), covered)


def turns(rungs: Sequence[MeasuredRung], first: str, second: str) -> list[float]:
    """The sizes at which the order of two mixers turns along the ladder: where the gap, a line in log10 of the
    parameters between neighbouring rungs, is zero."""
    found = []
    for small, large in itertools.pairwise(rungs):
        a, b = (statistics.fmean(rung.losses[first]) - statistics.fmean(rung.losses[second]) for rung in (small, large))
        if a * b < 0:
            x, y = math.log10(small.parameters), math.log10(large.parameters)
            found.append(10 ** (x + (y - x) * a / (a - b)))
    return found


def _weights(sizes: Sequence[float], target: float) -> list[float]:
    """The share of each rung in the least-squares line's value at the target; a single rung stands for itself."""
    if len(sizes) == 1:
        return [1.0]
    x = [math.log10(size) for size in sizes]
    center = statistics.fmean(x)
    square = sum((value - center) ** 2 for value in x)
    return [1 / len(x) + (math.log10(target) - center) * (value - center) / square for value in x]


def _check(rungs: Sequence[MeasuredRung], parameters: float) -> None:
    if not rungs:
        raise EvidenceError("nothing is trained below this size, so nothing can be foretold; train the lowest rung")
    for rung in rungs:
        if rung.losses.keys() != rungs[0].losses.keys():
            differ = sorted(rung.losses.keys() ^ rungs[0].losses.keys())
            raise EvidenceError(f"{rung.name} and {rungs[0].name} differ in {', '.join(differ)}; train the same mixers")
        if not rung.variance()[1]:
            raise EvidenceError(f"{rung.name} has one seed of each mixer: no noise can be seen; train two at least")
        if rung.parameters >= parameters:
            raise EvidenceError(f"{rung.name} has {rung.parameters:,.0f} parameters, not below {parameters:,.0f}")
