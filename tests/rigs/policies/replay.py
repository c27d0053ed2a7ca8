"""The replay bench: every policy searches worlds whose truth is known, thousands of times, at equal compute.

Gains are shown as a campaign shows them: against start_from's mean, whose luck is the same for all;
candidates come in a campaign's generations, whose parents are chosen before any of them is trained, and a first look at
each is always paid.

Two worlds. `Simulated` is a population with normal truths and normal noise. `Replayed` is the recorded table: truth is
a candidate's mean gain over all recorded seeds on the last rung. A handful of seeds would soon be exhausted, and a
policy that looks at all of them would know the truth, so replayed noise is resampled: what was recorded is split into
candidate + seed + residual; a search's seed k brings the effect of a recorded seed drawn for k (the same for every
candidate), and each (candidate, k) a residual drawn from the candidate's own, both drawn on all rungs together and
scaled to undo the split's lost degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import log, sqrt
from pathlib import Path
from typing import Protocol

import numpy as np

from asiarc.core.recipe import REFERENCE_SEEDS
from asiarc.core.seeds import seed_of
from asiarc.evidence.shares import Z, wilson
from asiarc.search.campaign import generations
from asiarc.search.policies import POLICIES
from asiarc.search.policies.controls import BestOfN
from asiarc.search.policies.paper import PaperPolicy
from asiarc.search.protocol import ROOT, Board, Evaluation, Policy, Recommendation, Traits
from tests.rigs.policies.table import Table

MOST_SEEDS = 256  # a candidate may be trained as often as that on one rung
SMALL = 8  # candidates of a shipped question at quick
NEIGHBOURS = 5  # a proposal is one of so many unseen candidates closest to the parent


class World(Protocol):
    """Something to search: what a policy may not see, and what it is told."""

    costs: tuple[float, ...]
    reference_loss: float
    truth: np.ndarray

    def propose(self, parent: int) -> tuple[int, Traits]:
        """An item not proposed before, derived from the item `parent` (-1: start_from), and its traits."""
        ...

    def measure(self, item: int, rung: int, seed: int) -> float:
        """The gain that one evaluation shows."""
        ...


class Simulated:
    """`size` candidates with true gains N(0, spread²), in nats; each of their runs and start_from's is observed with
    noise N(0, noise²), start_from `REFERENCE_SEEDS` times; one rung."""

    costs: tuple[float, ...] = (1.0,)
    reference_loss: float = 4.575

    def __init__(self, rng: np.random.Generator, size: int = 64, spread: float = 0.0175, noise: float = 0.0175) -> None:
        self.truth = rng.normal(0, spread, size)
        self._errors = rng.normal(0, noise, (size, MOST_SEEDS))
        self._start_error = float(rng.normal(0, noise, REFERENCE_SEEDS).mean())
        self._proposed = 0

    def propose(self, parent: int) -> tuple[int, Traits]:
        """See `World`. Candidates come in order, whoever is the parent; cells of an archive hold about eight each."""
        self._proposed += 1
        return self._proposed - 1, Traits(f"mechanism {(self._proposed - 1) % 8}")

    def measure(self, item: int, rung: int, seed: int) -> float:
        """See `World`."""
        return float(self.truth[item] + self._errors[item, seed] - self._start_error)


class Records:
    """A table split once into what `Replayed` draws from: gains in nats, [item, rung, seed]."""

    def __init__(self, table: Table, rungs: int | None = None) -> None:
        """Of the last `rungs`, or all."""
        bits = np.array([entry.bits for entry in table.entries])[:, -(rungs or len(table.steps)) :] * log(2)
        start, *entries = table.entries
        self.reference_loss = float(bits[0, -1].mean())
        gains = bits[0].mean(1)[:, None] - bits[1:]  # over start_from's mean, as a campaign measures them
        items, _, seeds = gains.shape
        self.costs = tuple(steps / table.steps[-1] for steps in table.steps[-bits.shape[1] :])
        self.worth = gains.mean(2)
        left = gains - self.worth[:, :, None]
        self.seed_effects = left.mean(0) * sqrt(seeds / (seeds - 1))
        self.residuals = (left - left.mean(0)) * sqrt(seeds / (seeds - 1) * items / (items - 1))
        self.traits = [
            Traits(
                str(entry.choices.get("memory", "additive")),
                entry.state_bytes / start.state_bytes,
                entry.flops_per_token / start.flops_per_token,
            )
            for entry in entries
        ]
        choices = [entry.choices for entry in table.entries]
        self.distance = np.array([[_differing(a, b) for b in choices] for a in choices])


def _differing(a: dict[str, object], b: dict[str, object]) -> int:
    """Design choices in which two genomes differ."""
    return sum(a.get(name) != b.get(name) for name in a.keys() | b.keys())


class Replayed:
    """The recorded table, or `size` of its candidates, with resampled noise. A proposal is drawn from the unseen
    candidates nearest to its parent."""

    def __init__(self, rng: np.random.Generator, records: Records, size: int | None = None) -> None:
        self.costs, self.reference_loss = records.costs, records.reference_loss
        self.records, self._rng = records, rng
        items, _, seeds = records.residuals.shape
        self._items = np.sort(rng.permutation(items)[:size]) if size else np.arange(items)
        self.truth = records.worth[self._items, -1]
        items = len(self._items)
        self._seed = rng.integers(seeds, size=MOST_SEEDS)
        self._residual = rng.integers(seeds, size=(items, MOST_SEEDS))
        self._shuffle = rng.random(items)  # the order among equals
        self._unseen = np.ones(items, bool)

    def propose(self, parent: int) -> tuple[int, Traits]:
        """See `World`."""
        row = 0 if parent < 0 else 1 + self._items[parent]
        distance = self.records.distance[row, 1 + self._items] + self._shuffle
        near = np.argsort(np.where(self._unseen, distance, np.inf))[: min(NEIGHBOURS, self._unseen.sum())]
        item = int(self._rng.choice(near))
        self._unseen[item] = False
        return item, self.records.traits[self._items[item]]

    def measure(self, item: int, rung: int, seed: int) -> float:
        """See `World`."""
        r = self.records
        row = self._items[item]
        shown = r.worth[row, rung] + r.seed_effects[rung, self._seed[seed]]
        return float(shown + r.residuals[row, rung, self._residual[item, seed]])


# --- one search, and many ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """How one search ended: whether it named the best, what its choice lost, and by how much it overstated it."""

    best: bool
    regret: float
    bias: float
    spent: float


def search(policy: Policy, world: World, budget: float, rng: np.random.Generator) -> Found:
    """Let a policy search a world until nothing more can be paid for, or nothing more is wanted.

    `budget` is in evaluations on the last rung.
    """
    groups = generations(len(world.truth))
    board = Board(world.costs, budget, len(world.truth), world.reference_loss, generation=len(groups[0]))
    items = [-1]
    for group in groups:
        proposed = [world.propose(items[policy.parents(board, rng)[0]]) for _ in group]
        for item, traits in proposed:
            items.append(item)
            board.enter(traits)
        while paid := _payable(board, policy.next(board, rng)):
            for one in paid:
                board.observe(one, world.measure(items[one.candidate], one.rung, one.seed))
    return _judge(policy.recommend(board)[0], board, world, items)


def _payable(board: Board, wanted: Sequence[Evaluation]) -> list[Evaluation]:
    return [one for one in board.paid(wanted) if one.seed < MOST_SEEDS]


def _judge(named: Recommendation, board: Board, world: World, items: Sequence[int]) -> Found:
    assert named.candidate != ROOT, "start_from is no discovery"
    worth = float(world.truth[items[named.candidate]])
    best = float(world.truth.max())
    return Found(worth == best, best - worth, named.estimate - worth, board.spent)


@dataclass(frozen=True)
class Row:
    """A policy's record over many searches: means with half the width of their 95 % intervals; `found` by Wilson."""

    policy: str
    found: float
    found_low: float
    found_high: float
    regret: float
    regret_pm: float
    bias: float
    bias_pm: float
    spent: float  # per candidate of the world, in evaluations on the last rung

    def __str__(self) -> str:
        found = f"{self.found:.1%} [{self.found_low:.1%}, {self.found_high:.1%}]"
        regret = f"{1e3 * self.regret:.2f} ± {1e3 * self.regret_pm:.2f}"
        bias = f"{1e3 * self.bias:+.2f} ± {1e3 * self.bias_pm:.2f}"
        return f"{self.policy:16}{found:>23}{regret:>16}{bias:>16}{self.spent:7.2f}"


def measure(
    name: str,
    make: Callable[[], Policy],
    worlds: Callable[[np.random.Generator], World],
    per_candidate: float,
    searches: int,
) -> Row:
    """Search `searches` worlds. Every policy meets the same worlds with the same noise, and pays the same."""
    ends, size = [], 1
    for number in range(searches):
        world = worlds(np.random.default_rng(seed_of("replay", "world", number)))
        size = len(world.truth)
        rng = np.random.default_rng(seed_of("replay", "policy", number))
        ends.append(search(make(), world, per_candidate * size, rng))
    low, high = wilson(sum(end.best for end in ends), searches)
    regret, regret_pm = _mean([end.regret for end in ends])
    bias, bias_pm = _mean([end.bias for end in ends])
    found = sum(end.best for end in ends) / searches
    spent = sum(end.spent for end in ends) / searches / size
    return Row(name, found, low, high, regret, regret_pm, bias, bias_pm, spent)


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(Z * np.std(values, ddof=1) / sqrt(len(values)))


def bench(table: Path, searches: int, names: Sequence[str] = ()) -> Iterator[str]:
    """The table of policies as lines, world by world; all policies, or those named."""
    contestants: dict[str, Callable[[], Policy]] = dict(POLICIES)
    contestants |= {"paper, no band": partial(PaperPolicy, band=None), "single runs": partial(BestOfN, runs=1)}
    if names:
        contestants = {name: contestants[name] for name in names}
    settings: list[tuple[str, Callable[[np.random.Generator], World], float]]
    settings = [("simulated: 64 candidates, noise / spread 1.00", Simulated, 3.5)]
    if table.exists():
        records = Records(Table.read(table))
        size, rungs, seeds = records.residuals.shape
        title = f"recorded: {size} candidates, {rungs} rungs, {seeds} seeds, noise / spread {noise_share(records):.2f}"
        settings += [(title, partial(Replayed, records=records), budget) for budget in (3.5, 1.0, 0.5)]
        last = Records(Table.read(table), rungs=2)
        small = f"a question at quick: {SMALL} of these candidates, the last two rungs"
        settings += [(small, partial(Replayed, records=last, size=SMALL), 0.73)]
    yield f"{searches:,} searches each; 95 % intervals; regret and bias in 0.001 nats; runs: spent per candidate"
    for title, worlds, budget in settings:
        yield f"\n{title}; at most {budget:g} full runs a candidate"
        yield f"{'policy':16}{'finds the best':>23}{'regret':>16}{'bias':>16}{'runs':>7}"
        for name, make in contestants.items():
            yield str(measure(name, make, worlds, budget, searches))
    if not table.exists():
        yield f"\nno recorded table in {table}; write one with: python -m tests.rigs policies record --store FOLDER"


def noise_share(records: Records) -> float:
    """Seed noise of one run on the last rung over the spread of truths."""
    noise2 = records.residuals[:, -1].var() + records.seed_effects[-1].var()
    return float(np.sqrt(noise2) / records.worth[:, -1].std())
