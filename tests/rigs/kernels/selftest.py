"""The gate tests itself: the same code twice must pass, the same code 5 % slower must fail. Both rates are printed.

Simulated: made times at three levels of noise. Real: this tree against itself in fresh processes, once as it is and
once with 5 % of every slice spent again in an idle loop; nothing is simulated there but the slowdown.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asiarc.core.seeds import seed_of
from asiarc.speed.cases import shipped
from asiarc.speed.paired import ALARM, ALLOWED, LOOKS, Ratio, Verdict, best_of, confirmed, paired_ratio
from tests.rigs.kernels.trees import compare

INJECTED = 0.05
NOISE = (0.01, 0.027, 0.05)
"""Variation of single timings: a quiet machine, a hired CI runner, a shared box."""
LEAST_CAUGHT, MOST_FALSE = 0.95, 0.01
CASE = shipped("gated_delta_rule", 2, 128, 2, 32)


@dataclass(frozen=True)
class Rates:
    """How often a rule calls a change of `effect` slower, at slices whose single timings vary by `cv`."""

    cv: float
    effect: float
    trials: int
    slower: int
    not_measured: int
    median_rule_slower: int
    """What the rule "median above 5 % and lower bound above 2 %, twice, 32 pairs" says of the same noise."""


def simulated(cv: float, effect: float, trials: int, seed: int) -> Rates:
    """Runs the rule, confirmation included, on made times.

    A timing is log-normal, one in ten is disturbed (longer by half on average), and every pair of processes has a bias
    of its own (0.5 %) that no number of pairs averages away.
    """
    rng = random.Random(seed)

    def timing() -> float:
        disturbed = 1 + rng.expovariate(2.0) if rng.random() < 0.1 else 1.0
        return math.exp(rng.gauss(0, cv)) * disturbed

    def measure(looks: Sequence[int] = LOOKS) -> Ratio:
        bias = math.exp(rng.gauss(0, 0.005))
        return paired_ratio(lambda: best_of(timing), lambda: (1 + effect) * bias * best_of(timing), looks=looks)

    def by_median() -> bool:
        found = measure((32,))
        return found.low > 1 + ALLOWED and found.ratio > 1 + ALARM

    verdicts = [confirmed(measure, lambda found: found).verdict for _ in range(trials)]
    other = sum(by_median() and by_median() for _ in range(trials))
    return Rates(cv, effect, trials, verdicts.count("slower"), verdicts.count("not measured"), other)


@dataclass(frozen=True)
class Count:
    """Verdicts of one kind of experiment."""

    what: str
    trials: int
    slower: int
    not_measured: int

    def line(self) -> str:
        """As text."""
        return (
            f"{self.what:44s} {self.slower:5d} of {self.trials} called slower ({self.slower / self.trials:.1%}),"
            f" {self.not_measured} not measured"
        )


def counts(rates: Rates, what: str) -> Count:
    """Simulated rates as a count."""
    return Count(f"simulated, cv {rates.cv:.1%}, {what}", rates.trials, rates.slower, rates.not_measured)


def simulate(trials: int) -> tuple[list[Count], list[str]]:
    """Counts of no change and of the slowdown at each noise, and what a rule by median makes of the latter."""
    found, by_median = [], []
    for cv in NOISE:
        for effect, what in ((0.0, "no change"), (INJECTED, f"{INJECTED:.0%} slower")):
            rates = simulated(cv, effect, trials, seed_of("speed selftest", cv, effect))
            found.append(counts(rates, what))
            if effect:
                by_median.append(f"cv {cv:.1%}: {rates.median_rule_slower / trials:.1%}")
    return found, by_median


def real(root: Path, trials: int, say: Callable[[str], None], records: list[dict[str, Any]]) -> list[Count]:
    """Counts of real experiments, fresh processes each; every experiment's record is added before it is said."""
    found = []
    for slower, what in ((0.0, "real, the same tree twice"), (INJECTED, f"real, {INJECTED:.0%} idle loop injected")):
        verdicts: list[Verdict] = []
        for i in range(trials):
            compared = compare(root, root, CASE, slower=slower)
            verdicts.append(compared.ratio.verdict)
            records.append({"injected": slower, **compared.as_dict()})
            say(f"  {what} {i + 1}/{trials}: {compared.red or compared.ratio}")
        found.append(Count(what, trials, verdicts.count("slower"), verdicts.count("not measured")))
    return found


def shortfalls(found: Sequence[Count]) -> list[str]:
    """Where a rate misses its goal; an experiment that was not measured is not one that was caught."""
    missed = []
    for count in found:
        rate = count.slower / count.trials
        if ("slower" in count.what or "injected" in count.what) and rate < LEAST_CAUGHT:
            missed.append(f"{count.what}: {rate:.1%} caught, at least {LEAST_CAUGHT:.0%} wanted")
        elif not ("slower" in count.what or "injected" in count.what) and rate > MOST_FALSE:
            missed.append(f"{count.what}: {rate:.1%} false alarms, at most {MOST_FALSE:.0%} wanted")
    return missed


def record(found: Sequence[Count], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """JSON-able."""
    return {"counts": [asdict(count) for count in found], "experiments": list(records), "missed": shortfalls(found)}
