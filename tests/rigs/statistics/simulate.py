"""Known truth, many repetitions: what each interval and test of `asiarc.evidence` really does.

A `Check` draws data whose truth is known, asks one function of `asiarc.evidence`, and counts how often the answer is
right. The functions under test are the public ones, called as a campaign calls them. Checks that promise
nothing are there to show why the default is another (a bootstrap of five seeds, peeking at a t interval,
trusting the winner's own seeds).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
from scipy.stats import binomtest

from asiarc.core.seeds import seed_of
from asiarc.evidence.effects import Effect, bootstrap_effect, decide, equivalent, paired_effect
from asiarc.evidence.multiplicity import benjamini_hochberg
from asiarc.evidence.power import pairs_needed
from asiarc.evidence.transfer import rank_correlation

ROW = "{check:58} {measures:15} {rate:.3f} [{low:.3f}, {high:.3f}]  {direction} {declared:g}: {verdict}"
_METHODS: tuple[Literal["BCa", "percentile"], ...] = ("BCa", "percentile")

Draw = Callable[[np.random.Generator], float]
"""One repetition: 1.0 where the answer was right (or the error made), 0.0 where not; a share for error
rates."""


@dataclass(frozen=True, slots=True)
class Check:
    """One experiment: `draw` should average `at least` or `at most` `declared`; `promised` by a docstring or not."""

    name: str
    measures: str
    direction: Literal["at least", "at most"]
    declared: float
    draw: Draw
    promised: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """A check's measured rate with its 99.8 % interval over `repetitions`."""

    check: Check
    rate: float
    low: float
    high: float
    repetitions: int

    @property
    def holds(self) -> bool:
        """Whether the rate is compatible with what was declared."""
        if self.check.direction == "at least":
            return self.high >= self.check.declared
        return self.low <= self.check.declared

    def as_row(self) -> dict[str, Any]:
        """The measured rate beside what was declared, as plain data."""
        check = self.check
        declared = {name: getattr(check, name) for name in ("measures", "direction", "declared")}
        measured = {name: getattr(self, name) for name in ("rate", "low", "high", "repetitions")}
        verdict = "holds" if self.holds else "BROKEN" if check.promised else "short, not promised"
        return {"check": check.name, **declared, **measured, "verdict": verdict}


def measure(check: Check, repetitions: int) -> Measured:
    """Runs a check, seeded by its name.

    The interval is Clopper and Pearson's; for a draw that returns shares it is conservative (their variance
    is below a binomial's of the same mean).
    """
    rng = np.random.default_rng(seed_of("evidence", "simulate", check.name))
    total = float(sum(check.draw(rng) for _ in range(repetitions)))
    bounds = binomtest(round(total), repetitions).proportion_ci(0.998)
    return Measured(check, total / repetitions, float(bounds.low), float(bounds.high), repetitions)


@click.command()
@click.argument("repetitions", type=click.IntRange(min=100), default=1_000)
@click.option("--out", type=click.Path(path_type=Path), help="Write the rates as JSON, too.")
def main(repetitions: int, out: Path | None) -> None:
    """Measure every interval and test against known truth; fails if one does less than it promises."""
    click.echo(f"{repetitions:,} repetitions each; rate with its 99.8 % interval\n")
    rows = []
    for check in all_checks():
        rows.append(measure(check, repetitions).as_row())
        click.echo(ROW.format(**rows[-1]))
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n")
    if broken := sum(row["verdict"] == "BROKEN" for row in rows):
        raise click.ClickException(f"{broken} promises broken")


def all_checks() -> list[Check]:
    """Every check, promises first within each family."""
    return [*_effect_checks(), *_transfer_checks(), *_campaign_checks()]


def _coverage(name: str, draw: Draw, declared: float = 0.95, *, promised: bool = True) -> Check:
    return Check(name, "coverage", "at least", declared, draw, promised)


def _power(name: str, draw: Draw, declared: float) -> Check:
    return Check(name, "power", "at least", declared, draw)


def _error(name: str, draw: Draw, declared: float = 0.05, *, promised: bool = True) -> Check:
    return Check(name, "false claims", "at most", declared, draw, promised)


def _effect_checks() -> list[Check]:
    return [
        *(_coverage(f"paired t, n={n}, normal", _covers(_paired, n, _normal)) for n in (2, 3, 5, 10)),
        _coverage("paired t, n=5, heavy tails (t, 4 df)", _covers(_paired, 5, _heavy), 0.94),
        _coverage("paired t, n=5, exponential", _covers(_paired, 5, _skewed), promised=False),
        *(
            _coverage(f"bootstrap {method}, n={n}, normal", _covers(_bootstrap(method), n, _normal), promised=False)
            for method in _METHODS
            for n in (5, 20)
        ),
        _coverage("paired t for 10 comparisons, all at once", _family_covers),
        _power("pairs_needed for 80 %, effect 1.5 sd", _finds_with_planned_n, 0.8),
        _error("equivalent, true gain at the margin", _wrongly_equivalent, 0.025),
        _power("equivalent, n=10, no gain, margin 1.5 sd", _rightly_equivalent, 0.9),
        _coverage("t interval looked at 100 times", _peeking_covers, promised=False),
    ]


def _transfer_checks() -> list[Check]:
    grid = [(rho, n) for rho in (0.0, 0.5, 0.9) for n in (8, 30, 101)]
    covered = [_coverage(f"rank correlation, rho={rho}, n={n}", _rank_covers(rho, n)) for rho, n in grid]
    return [*covered, _power("rank correlation, rho=0.6, n=30: transfers", _rank_finds, 0.8)]


def _campaign_checks() -> list[Check]:
    return [
        _error("null campaign of 20, decide() on fresh seeds", _null_fresh),
        _error("null campaign of 20, Benjamini-Hochberg", _null_bh),
        _error("half-null campaign of 20, Benjamini-Hochberg", _half_null_bh),
        _power("half-null campaign of 20, Benjamini-Hochberg, effect 5 sd", _half_null_found, 0.6),
        _error("null campaign of 20, winner on its own seeds", _null_own_seeds, promised=False),
    ]


# Draws of paired differences, each of mean 0 and about unit spread.
Noise = Callable[[np.random.Generator, int], np.ndarray]
Estimate = Callable[[np.ndarray], Effect]


def _normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal(n)


def _heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_t(4, n)


def _skewed(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_exponential(n) - 1


def _by_seed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def _paired(gains: np.ndarray, **options: Any) -> Effect:
    return paired_effect(_by_seed(gains), _by_seed(np.zeros(len(gains))), higher_is_better=True, **options)


def _bootstrap(method: Literal["BCa", "percentile"]) -> Estimate:
    def estimate(gains: np.ndarray) -> Effect:
        zeros = _by_seed(np.zeros(len(gains)))
        return bootstrap_effect(_by_seed(gains), zeros, higher_is_better=True, method=method, resamples=499)

    return estimate


def _covers(estimate: Estimate, n: int, noise: Noise, truth: float = 0.3) -> Draw:
    def draw(rng: np.random.Generator) -> float:
        effect = estimate(truth + noise(rng, n))
        return float(effect.low <= truth <= effect.high)

    return draw


def _family_covers(rng: np.random.Generator) -> float:
    effects = [_paired(_normal(rng, 5), num_comparisons=10) for _ in range(10)]
    return float(all(effect.low <= 0 <= effect.high for effect in effects))


def _finds_with_planned_n(rng: np.random.Generator) -> float:
    return float(_paired(1.5 + _normal(rng, pairs_needed(1.5, 1.0))).low > 0)


def _wrongly_equivalent(rng: np.random.Generator) -> float:
    return float(equivalent(_paired(1.5 + _normal(rng, 10)), margin=1.5))


def _rightly_equivalent(rng: np.random.Generator) -> float:
    return float(equivalent(_paired(_normal(rng, 10)), margin=1.5))


def _peeking_covers(rng: np.random.Generator) -> float:
    gains = _normal(rng, 100)
    looks = (_paired(gains[:n]) for n in range(2, 101))
    return float(all(look.low <= 0 <= look.high for look in looks))


def _rank_covers(rho: float, n: int) -> Draw:
    pearson = 2 * np.sin(np.pi * rho / 6)  # a bivariate normal's Pearson r that has Spearman's rho

    def draw(rng: np.random.Generator) -> float:
        found = _correlated(rng, pearson, n)
        return float(found.low <= rho <= found.high)

    return draw


def _rank_finds(rng: np.random.Generator) -> float:
    return float(_correlated(rng, 2 * np.sin(np.pi * 0.6 / 6), 30).transfers)


def _correlated(rng: np.random.Generator, pearson: float, n: int) -> Any:
    x, noise = rng.standard_normal((2, n))
    return rank_correlation(x.tolist(), (pearson * x + np.sqrt(1 - pearson**2) * noise).tolist())


def _stage(rng: np.random.Generator, gains: np.ndarray, seeds: int = 5) -> list[Effect]:
    """Effects of candidates against one baseline that they share, hence dependent, paired over seeds."""
    baseline = rng.standard_normal(seeds)
    scores = gains[:, None] + rng.standard_normal((len(gains), seeds))
    return [_paired(row - baseline, num_comparisons=len(gains)) for row in scores]


def _null_fresh(rng: np.random.Generator) -> float:
    effects = _stage(rng, np.zeros(20))
    return float(any(decide(effect, fresh_seeds=True, fresh_items=True) == "better" for effect in effects))


def _null_bh(rng: np.random.Generator) -> float:
    return float(min(benjamini_hochberg(_p_values(_stage(rng, np.zeros(20)))).values()) <= 0.05)


def _half_null(rng: np.random.Generator) -> dict[int, float]:
    return _p_values(_stage(rng, np.where(np.arange(20) < 10, 5.0, 0.0)))


def _half_null_bh(rng: np.random.Generator) -> float:
    found = [name for name, p in benjamini_hochberg(_half_null(rng)).items() if p <= 0.05]
    return sum(name >= 10 for name in found) / max(1, len(found))


def _half_null_found(rng: np.random.Generator) -> float:
    adjusted = benjamini_hochberg(_half_null(rng))
    return sum(adjusted[name] <= 0.05 for name in range(10)) / 10


def _null_own_seeds(rng: np.random.Generator) -> float:
    """The habit that `decide` exists to prevent: pick the best of 20, then test it on the scores that picked it."""
    baseline, scores = rng.standard_normal(5), rng.standard_normal((20, 5))
    return float(_paired(scores[scores.mean(axis=1).argmax()] - baseline).low > 0)


def _p_values(effects: list[Effect]) -> dict[int, float]:
    return {number: effect.p_value for number, effect in enumerate(effects)}
