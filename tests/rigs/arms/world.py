"""A world to search: what a genome's loss is on each rung, by a surrogate of what was measured, and the luck of a seed.

The surrogate is a Gaussian process over genomes of F fields that agree in s of them: the covariance of their losses is
`scale` ((1 - near) s / F + near exp((s - F) / reach)), a sum over choices and what neighbours share beyond it; `scale`,
`near`, `reach` and the noise are the likeliest of a grid. A world is a draw: of what the surrogate does not know of a
genome, each has its share, fixed by (world, address); neighbours' shares are independent, which makes far draws a
little better than they are. Losses on the last rung are a line in those on the first, and what the line leaves is
drawn alike. Noise: a seed's own luck, which all who trained on it share, and a trial's.

Source: Rasmussen and Williams 2006, eqs. 2.25, 2.26 and 5.8; 5.10 to 5.12 for the losses left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import exp, log, sqrt

import numpy as np

from asiarc.core.errors import EvidenceError
from asiarc.core.genome import Genome, domain
from asiarc.core.seeds import rng_of
from asiarc.evidence.additive import Layout
from tests.rigs.arms.genomes import Member

NEAR, REACH, NOISE = (0.1, 0.3, 0.6, 0.9), (2.0, 4.0, 8.0), (0.003, 0.01, 0.03, 0.1, 0.3)
TINY = 1e-12  # of a variance
COUNTED = ("state_bytes", "flops_per_token", "parameters")
LEAST = 20  # members, for a surrogate of anything
FIELDS = tuple(domain())


def coded(genome: Genome) -> np.ndarray:
    """A genome as the numbers of its choices, [F]."""
    chosen = genome.model_dump()
    return np.array([domain()[name].index(chosen[name]) for name in FIELDS], np.int16)


@dataclass(frozen=True)
class Process:
    """A Gaussian process through what was measured, with its hyperparameters; `noise` is a share of `scale`."""

    at: np.ndarray  # the genomes' choices, [N, F]
    values: np.ndarray  # [N]
    near: float
    reach: float
    noise: float

    def covariance(self, x_MF: np.ndarray) -> np.ndarray:
        """With the members, [M, N], in units of `scale`."""
        alike_MN = (x_MF[:, None] == self.at[None]).sum(-1)
        fields = self.at.shape[1]
        return (1 - self.near) * alike_MN / fields + self.near * np.exp((alike_MN - fields) / self.reach)

    @cached_property
    def inverse_NN(self) -> np.ndarray:
        """Of the covariance of what was measured."""
        return np.linalg.inv(self.covariance(self.at) + self.noise * np.eye(len(self.values)))

    @cached_property
    def mean(self) -> float:
        """The generalised mean of what was measured."""
        total_N = self.inverse_NN.sum(0)
        return float(total_N @ self.values / total_N.sum())

    @cached_property
    def weights_N(self) -> np.ndarray:
        """Of each member in a prediction."""
        return self.inverse_NN @ (self.values - self.mean)

    @cached_property
    def scale(self) -> float:
        """The variance that makes what was measured likeliest."""
        return max(TINY, float((self.values - self.mean) @ self.weights_N / len(self.values)))

    @property
    def score(self) -> float:
        """Twice the log likelihood, but for a constant."""
        _, logdet = np.linalg.slogdet(self.inverse_NN)
        return float(logdet - len(self.values) * log(self.scale))

    def predicted(self, genome: Genome) -> tuple[float, float]:
        """(mean, standard deviation) of what a genome is worth, noise left out."""
        x_1F = coded(genome)[None]
        k_N = self.covariance(x_1F)[0]
        left = max(0.0, 1.0 - float(k_N @ self.inverse_NN @ k_N))
        return self.mean + float(k_N @ self.weights_N), sqrt(self.scale * left)

    def explained(self) -> float:
        """The share of the variance that is foretold of each member by all others."""
        left_N = self.weights_N / self.inverse_NN.diagonal()
        return 1.0 - float((left_N**2).mean()) / max(TINY, float(self.values.var()))


def fitted(values: Mapping[Genome, float]) -> Process:
    """The likeliest process through some values; `EvidenceError` for fewer than `LEAST`."""
    if len(values) < LEAST:
        raise EvidenceError(
            f"{len(values)} genomes were measured, a surrogate takes {LEAST}; record more: python -m tests.rigs arms "
            "record"
        )
    x_NF, y_N = np.array([coded(genome) for genome in values]), np.array([*values.values()])
    tried = (Process(x_NF, y_N, *chosen) for chosen in product(NEAR, REACH, NOISE))
    return max(tried, key=lambda one: one.score)


@dataclass(frozen=True)
class Luck:
    """Standard deviations of one rung: of a seed's effect on all, and of one trial's own."""

    shared: float
    own: float

    @classmethod
    def of(cls, members: Sequence[Member], steps: int) -> Luck | None:
        """As the members that were trained on several seeds show it (mixer and seed effects by least squares); None
        where none was."""
        scores = {
            (member.address, seed): value
            for member in members
            for seed, value in member.bits.get(str(steps), {}).items()
            if len(member.bits[str(steps)]) > 1
        }
        if len({seed for _, seed in scores}) < 2:
            return None
        layout = Layout(scores)
        if layout.freedom < 1:  # one member alone: its own luck and its seeds' are the same
            return None
        own = sqrt(layout.squares / layout.freedom)
        means = [np.mean([v for (_, seed), v in scores.items() if seed == one]) for one in {s for _, s in scores}]
        return cls(float(np.std(means, ddof=1)), own)


class Surrogate:
    """What is known of the losses of genomes on both rungs of explore, and of what they take."""

    def __init__(self, members: Sequence[Member], rungs: tuple[int, ...]) -> None:
        self.rungs = first, *_, last = rungs
        luck = {steps: Luck.of(members, steps) for steps in {first, last}}
        known = next((one for one in luck.values() if one), None)
        if known is None:
            raise EvidenceError("no genome was trained on two seeds, so that nothing is known of noise; record more")
        self.luck = {steps: one or known for steps, one in luck.items()}
        genomes = {member.address: Genome(**member.genome) for member in members}
        means = {
            steps: {m.address: float(np.mean([*m.bits[str(steps)].values()])) for m in members if str(steps) in m.bits}
            for steps in {first, last}
        }
        self.loss = fitted({genomes[address]: value for address, value in means[first].items()})
        both = sorted(means[first].keys() & means[last].keys())
        low_N, high_N = (np.array([means[steps][address] for address in both]) for steps in (first, last))
        self.slope, self.offset = (float(value) for value in np.polyfit(low_N, high_N, 1))
        left_N = high_N - self.slope * low_N - self.offset
        noise = self.luck[last].own ** 2 + (self.slope * self.luck[first].own) ** 2
        self.left = sqrt(max(0.0, float(left_N @ left_N) / max(1, len(both) - 2) - noise))
        self.correlation = float(np.corrcoef(low_N, high_N)[0, 1])
        sized = [member for member in members if member.measures]
        self.counted = {genomes[member.address]: member.measures for member in sized}
        self.size = {
            name: fitted({genomes[m.address]: log(max(1.0, m.measures[name])) for m in sized})
            for name in COUNTED
        }

    def measures(self, genome: Genome) -> dict[str, int]:
        """What the gates counted, where they did, and what they would count, foretold, where they did not."""
        if counted := self.counted.get(genome):
            return {name: round(counted[name]) for name in COUNTED}
        return {name: round(exp(process.predicted(genome)[0])) for name, process in self.size.items()}

    def lines(self) -> list[str]:
        """What was fitted, for a person."""
        first, *_, last = self.rungs
        told = ", ".join(f"{name} {process.explained():.3f}" for name, process in self.size.items())
        return [
            f"{len(self.loss.values)} genomes; share of the variance foretold of each by all others: loss at {first} "
            f"steps {self.loss.explained():.3f}, {told}",
            *(
                f"a trial at {steps} steps: noise {luck.own:.4f} bits a byte, a seed's effect on all {luck.shared:.4f}"
                for steps, luck in sorted(self.luck.items())
            ),
            f"at {last} steps: {self.slope:.2f} x the loss at {first} {self.offset:+.2f}, and {self.left:.4f} that it "
            f"does not say (correlation {self.correlation:.2f})",
        ]


class World:
    """One draw: the truth of every genome, and what a trial of it shows."""

    def __init__(self, surrogate: Surrogate, number: int) -> None:
        self.surrogate, self.number = surrogate, number
        self.known: dict[str, tuple[float, float]] = {}

    def truth(self, address: str, genome: Genome, steps: int) -> float:
        """A genome's loss after some steps, without luck."""
        if address not in self.known:
            self.known[address] = self.surrogate.loss.predicted(genome)
        mean, sd = self.known[address]
        draws = rng_of("world", self.number, address)
        low = mean + sd * draws.gauss(0, 1)
        high = self.surrogate.slope * low + self.surrogate.offset + self.surrogate.left * draws.gauss(0, 1)
        return low if steps == self.surrogate.rungs[0] else high

    def shown(self, address: str, genome: Genome, steps: int, seed: str) -> float:
        """What one trial shows."""
        luck = self.surrogate.luck[steps]
        shared = rng_of("world", self.number, seed, steps).gauss(0, luck.shared)
        own = rng_of("world", self.number, seed, steps, address).gauss(0, luck.own)
        return max(0.0, self.truth(address, genome, steps) + shared + own)
