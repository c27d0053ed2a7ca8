"""How often a referee says "ahead" of what is not, when somebody asks again and again and builds on the answers.

A world is a number of cells (an item or a seed each) on which everybody is measured; a candidate without any gain has
noise there, and its score is the mean. Adversaries that know their candidates' true gain ask for 1,000 scores:

- *draws*: something new each time, on cells of its own: luck alone.
- *builds*: something new nine times, then the sum of all that it was told was good, less what was bad (Blum and Hardt's
  boosting attack), on the same cells.
- *borders*: as *builds*, but each probe is given the true gain at which the next answer hangs on its noise.

False is an interval that lies above the true gain. Power: how often a true gain is told as the 101st, after noise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import click
import numpy as np
from scipy.special import stdtrit

from asiarc.core.seeds import seed_of
from asiarc.evidence.ladder import ERRS, Ladder, widened_for

CELLS = 128
LOOKS = 1_000
SUM_EVERY = 10
AFTER = 100  # looks at noise before the true gain, for power
MOST_FALSE = 0.05
ROW = "{answers:22} {builds:>8} {borders:>8} {draws:>8} {power_6:>8} {power_8:>8} {power_12:>8}"
Scores = np.ndarray


class Answer(NamedTuple):
    """What is told: a number or none, and the lower end of its interval (ahead where that is above zero)."""

    told: float
    low: float


class Answers(Protocol):
    """A way to answer looks at scores [cells]; one object a world."""

    def __call__(self, scores: Scores) -> Answer: ...

    @property
    def border(self) -> float:
        """The score at which the next answer changes, in standard errors."""
        ...


class Widened:
    """The mean and a t interval, at the n-th look as one of `of(n)` comparisons."""

    def __init__(self, of: Callable[[int], float]) -> None:
        self.of, self.looks = of, 0

    @property
    def border(self) -> float:
        return _factor(self.of(self.looks + 1), CELLS - 1)

    def __call__(self, scores: Scores) -> Answer:
        factor, self.looks = self.border, self.looks + 1
        mean = float(scores.mean())
        return Answer(mean, mean - factor * _error(scores))


class Climbed:
    """The product's ladder."""

    def __init__(self) -> None:
        self.ladder = Ladder()

    @property
    def border(self) -> float:
        factor = _factor(self.ladder.comparisons, CELLS - 1)
        return self.ladder.best * math.sqrt(CELLS) + 1.25 * factor

    def __call__(self, scores: Scores) -> Answer:
        self.ladder, told = self.ladder.look(float(scores.mean()), _error(scores), CELLS - 1)
        return Answer(told.gain, told.low) if told else Answer(0.0, -math.inf)


class Thresholded:
    """Thresholdout (Dwork et al. 2015): the mean of one half of the cells, unless the other half, with noise of `scale`
    standard errors, is further off than a threshold; the interval is of one half and of that noise, for all looks."""

    def __init__(self, scale: float, rng: np.random.Generator) -> None:
        self.scale, self.rng = scale / math.sqrt(CELLS / 2), rng
        self.threshold, self.looks = 4 * self.scale, 0
        self.shift = self.rng.laplace(scale=2 * self.scale)

    @property
    def border(self) -> float:
        return self.threshold * math.sqrt(CELLS)

    def __call__(self, scores: Scores) -> Answer:
        self.looks += 1
        seen, held = float(scores[::2].mean()), float(scores[1::2].mean())
        off = abs(seen - held) > self.threshold + self.shift + self.rng.laplace(scale=4 * self.scale)
        if off:
            self.shift = self.rng.laplace(scale=2 * self.scale)
            seen = held + self.rng.laplace(scale=self.scale)
        factor = _factor(widened_for(self.looks), CELLS // 2 - 1)
        noise = self.scale * math.log(widened_for(self.looks) / ERRS) if off else self.threshold
        return Answer(seen, seen - factor * _error(scores[1::2]) - noise)


def _factor(comparisons: float, freedom: int) -> float:
    return -float(stdtrit(freedom, ERRS / comparisons))


def _error(scores: Scores) -> float:
    return float(scores.std(ddof=1)) / math.sqrt(len(scores))


WAYS: dict[str, Callable[[np.random.Generator], Answers]] = {
    "each as if alone": lambda _: Widened(lambda _: 1),
    "for all scored so far": lambda _: Widened(lambda n: n),
    "for all looks": lambda _: Widened(widened_for),
    "Thresholdout, scale 1": lambda rng: Thresholded(1.0, rng),
    "Thresholdout, scale 4": lambda rng: Thresholded(4.0, rng),
    "Ladder": lambda _: Climbed(),
}


def draws(answers: Answers, rng: np.random.Generator, looks: int = LOOKS) -> bool:
    """Whether anything false is told to who brings something new each time, with noise of its own."""
    return any(answers(rng.standard_normal(CELLS)).low > 0 for _ in range(looks))


def builds(answers: Answers, rng: np.random.Generator, looks: int = LOOKS, *, at_border: bool = False) -> bool:
    """Whether anything false is told to who adds up what was told to be good."""
    total, told = np.zeros(CELLS), []
    for look in range(1, looks + 1):
        if look % SUM_EVERY == 0 and total.any():
            sum_of_all = total / (_norm(total) or 1.0)
            if answers(sum_of_all).low > 0:
                return True
            continue
        gain = answers.border / math.sqrt(CELLS) if at_border else 0.0
        noise = rng.standard_normal(CELLS)
        answer = answers(noise + gain)
        if answer.low > gain:
            return True
        told.append(answer.told)
        total += noise * np.sign((answer.low > 0) - 0.5 if at_border else answer.told)
    return False


def _norm(total: Scores) -> float:
    return float(np.sqrt(np.mean(total**2)))


def borders(answers: Answers, rng: np.random.Generator, looks: int = LOOKS) -> bool:
    """As `builds`, with each probe where the next answer hangs on its noise."""
    return builds(answers, rng, looks, at_border=True)


def finds(errors: float) -> Callable[[Answers, np.random.Generator], bool]:
    """Whether a true gain of so many standard errors is told after looks at noise."""

    def tell(answers: Answers, rng: np.random.Generator) -> bool:
        for _ in range(AFTER):
            answers(rng.standard_normal(CELLS))
        return answers(rng.standard_normal(CELLS) + errors / math.sqrt(CELLS)).low > 0

    return tell


ASKED: dict[str, Callable[[Answers, np.random.Generator], bool]] = {
    "builds": builds, "borders": borders, "draws": draws,
    "power_6": finds(6), "power_8": finds(8), "power_12": finds(12),
}  # fmt: skip


def share(way: str, asked: str, worlds: int) -> float:
    """In how many of some worlds it happens, seeded by name and number."""
    seeds = (seed_of("evidence", "looks", way, asked, number) for number in range(worlds))
    rngs = (np.random.default_rng(seed) for seed in seeds)
    return sum(ASKED[asked](WAYS[way](rng), rng) for rng in rngs) / worlds


@click.command()
@click.argument("worlds", type=click.IntRange(min=20), default=200)
@click.option("--out", type=click.Path(path_type=Path), help="Write the shares as JSON, too.")
def main(worlds: int, out: Path | None) -> None:
    """1,000 looks at noise by three adversaries, and the power left; fails where the Ladder errs too often."""
    click.echo(f"{worlds} worlds of {LOOKS:,} looks on {CELLS} cells: share with anything false, then power\n")
    click.echo(ROW.format(answers="", **{name: name for name in ASKED}))
    rows: list[dict[str, Any]] = []
    for way in WAYS:
        rows.append({"answers": way, **{asked: share(way, asked, worlds) for asked in ASKED}})
        click.echo(ROW.format(**rows[-1]))
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n")
    worst = max(rows[-1][asked] for asked in ("builds", "borders", "draws"))
    if worst > MOST_FALSE:
        raise click.ClickException(f"the Ladder says something false in {worst:.1%} of the worlds")
