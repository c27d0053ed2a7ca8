"""``python -m tests.rigs grammar``: how large the grammar's space is, what it reaches, and how different its draws are.

The size is exact: a genome is canonical where none of the steps that make it so changes it, and each step reads a few
fields, so that fields can be summed out one at a time. What draws do is their behavioural fingerprint (outputs on fixed
probes with fixed weights), beside that of draws from the grammar before the panel of 2026.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from asiarc.core.genome import SETTLED, domain, earlier_domain, random_genome
from asiarc.core.recipe import MICRO
from asiarc.core.seeds import rng_of
from asiarc.models.baselines import PANEL, PANEL_NAMES
from asiarc.researcher.designs import BASELINES, DIFFERS, HEADLINES, KIN, LEFT_OUT, PANEL_DESIGNS
from asiarc.researcher.mechanisms import difference, phrase
from asiarc.researcher.novelty import SAME
from asiarc.researcher.render import render

Domain = Mapping[str, Sequence[Any]]
Say = Callable[[str], None]
PROBES = 500  # random genomes on which it is seen what a step reads
EXAMPLES = 2  # of each gate
EVERY = 100  # draws between two lines of progress


# --- how large --------------------------------------------------------------------------------------------------------


class Factor(NamedTuple):
    """How many ways there are for each assignment of some fields; what is not in `ways` has none."""

    fields: tuple[str, ...]
    ways: Mapping[tuple[Any, ...], int]


class Watched(dict[str, Any]):
    """A genome's choices, and which of them were asked for."""

    def __init__(self, choices: Mapping[str, Any]) -> None:
        super().__init__(choices)
        self.asked: set[str] = set()

    def __getitem__(self, field: str) -> Any:
        self.asked.add(field)
        return super().__getitem__(field)


def read_by(settle: Callable[[Mapping[str, Any]], Any], choices: Domain) -> tuple[str, ...]:
    """The fields that a step reads, seen on random genomes."""
    rng, asked = rng_of("grammar", "probes"), set[str]()
    for _ in range(PROBES):
        watched = Watched({field: rng.choice(options) for field, options in choices.items()})
        settle(watched)
        asked |= watched.asked
    return tuple(field for field in choices if field in asked)


def constraints(choices: Domain) -> Iterator[Factor]:
    """For each step the assignments of what it reads that it leaves as they are."""
    for field, settle in SETTLED:
        fields = tuple(dict.fromkeys((field, *read_by(settle, choices))))
        every = (dict(zip(fields, values, strict=True)) for values in product(*(choices[name] for name in fields)))
        kept = (tuple(given.values()) for given in every if settle(given) == given[field])
        yield Factor(fields, dict.fromkeys(kept, 1))


def canonical_genomes(choices: Domain) -> int:
    """How many canonical genomes there are over some choices: an exact sum, one field after the other."""
    factors = list(constraints(choices))
    left = set(choices)
    while left:
        field = min(sorted(left), key=lambda name: _joint_size(name, factors, choices))
        left.remove(field)
        touched = [factor for factor in factors if field in factor.fields]
        factors = [factor for factor in factors if field not in factor.fields]
        factors.append(summed_out(field, touched, choices))
    return prod(factor.ways.get((), 0) for factor in factors)


def _scope(field: str, factors: Sequence[Factor]) -> tuple[str, ...]:
    """A field and what it occurs with."""
    beside = (name for factor in factors if field in factor.fields for name in factor.fields)
    return tuple(dict.fromkeys((field, *beside)))


def _joint_size(field: str, factors: Sequence[Factor], choices: Domain) -> int:
    return prod(len(choices[name]) for name in _scope(field, factors))


def summed_out(field: str, factors: Sequence[Factor], choices: Domain) -> Factor:
    """The product of some factors, summed over a field."""
    scope = _scope(field, factors)
    places = [(factor.ways, [scope.index(name) for name in factor.fields]) for factor in factors]
    ways: Counter[tuple[Any, ...]] = Counter()
    for values in product(*(choices[name] for name in scope)):
        many = prod(found.get(tuple(values[i] for i in at), 0) for found, at in places)
        if many:
            ways[values[1:]] += many
    return Factor(scope[1:], ways)


def size_lines() -> Iterator[str]:
    """The number of canonical genomes now and before the panel of 2026."""
    for name, choices in (("now", domain()), ("before", earlier())):
        open_fields = sum(len(options) > 1 for options in choices.values())
        yield f"canonical genomes {name}: {canonical_genomes(choices):.4g} (exact, over {open_fields} fields)"


def earlier() -> dict[str, tuple[Any, ...]]:
    """Every field with the values that it had before."""
    return {field: earlier_domain().get(field, options[:1]) for field, options in domain().items()}


# --- what it reaches --------------------------------------------------------------------------------------------------


def reach_lines() -> Iterator[str]:
    """Which mixers of the panel and which headline designs are genomes, and how many choices from DeltaNet."""
    start = PANEL_DESIGNS["delta_net"]
    computed = len(PANEL_DESIGNS) - len(KIN)
    yield f"{PANEL}: {computed} of {len(PANEL_NAMES)} computed exactly, {len(KIN)} with another block around its memory"
    for name in PANEL_NAMES:
        if name in LEFT_OUT:
            yield f"  {name}: not written, {LEFT_OUT[name]}"
            continue
        changed = difference(start, PANEL_DESIGNS[name])
        how = "the same file" if name in BASELINES else f"but {DIFFERS[name]}" if name in KIN else "the same function"
        yield f"  {name}: {len(changed)} from delta_net ({', '.join(map(phrase, changed)) or 'itself'}); {how}"
    yield f"headline designs: {len(HEADLINES)} of {len(HEADLINES)}, repaired"
    for name, genome in HEADLINES.items():
        yield f"  {name}: {len(difference(start, genome))} from delta_net"


# --- what its draws do ------------------------------------------------------------------------------------------------


def drawn(count: int, choices: Mapping[str, tuple[Any, ...]], purpose: str) -> list[str]:
    """The sources of so many random genomes."""
    return [render(random_genome(random.Random(rng_of("grammar", purpose, n).random()), choices)) for n in range(count)]


def gate_lines(count: int, say: Say) -> Iterator[str]:
    """The share of random draws that pass every gate at the micro size, and what turned the others away."""
    from asiarc.engineer.gates import admit

    stopped: Counter[str] = Counter()
    for number, source in enumerate(drawn(count, domain(), "gates"), start=1):
        size = {"d_model": MICRO.d_model, "num_heads": MICRO.num_heads}
        rejection = admit(source, **size, seed=number, max_examples=EXAMPLES).first_rejection
        stopped[rejection.gate if rejection else ""] += 1
        say(f"{number} of {count} through the gates, {stopped['']} admitted")
    admitted = stopped.pop("", 0)
    turned_away = "".join(f", {many} turned away by {gate}" for gate, many in stopped.most_common())
    yield f"admitted at {MICRO.name}: {admitted} of {count}{turned_away}"


def behaviours(sources: Sequence[str], say: Say) -> NDArray[np.float64]:
    """Fingerprints [draws, numbers] of what can be computed."""
    from asiarc.engineer.fingerprint import fingerprint

    found = []
    for number, source in enumerate(sources, start=1):
        payload = {"source": source, "d_model": MICRO.d_model, "num_heads": MICRO.num_heads}
        found.append(fingerprint(payload)["fingerprint"])
        if number % EVERY == 0:
            say(f"{number} of {len(sources)} fingerprints")
    return np.array([numbers for numbers in found if numbers is not None])


class Diversity(NamedTuple):
    """How many draws differ in what they compute, how far they lie apart, in how many directions they spread."""

    draws: int
    distinct: int
    apart: float  # median distance of two draws' outputs, as a share of their length; 1.41 where they share nothing
    nearest: float  # the same to the nearest other draw
    directions: float  # (sum of the variances)^2 / sum of their squares, over principal axes


def diversity(numbers_NF: NDArray[np.float64]) -> Diversity:
    """Of fingerprints, which are projections of outputs of length one."""
    count, width = numbers_NF.shape
    distances = np.array([np.linalg.norm(numbers_NF - one, axis=1) for one in numbers_NF]) / np.sqrt(width)
    largest = np.abs(numbers_NF).max(1)
    twins = [
        (np.abs(numbers_NF[:n] - one).max(1, initial=0) <= SAME * size).any()
        for n, (one, size) in enumerate(zip(numbers_NF, largest, strict=True))
    ]
    variances = np.linalg.eigvalsh(np.cov(numbers_NF.T))
    others = distances[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    directions = variances.sum() ** 2 / np.square(variances).sum()
    middle = (float(np.median(found)) for found in (others, others.min(1)))
    return Diversity(count, count - sum(map(bool, twins)), *middle, float(directions))


def diversity_lines(count: int, say: Say) -> Iterator[str]:
    """How different random draws are, now and before."""
    for name, choices in (("now", domain()), ("before", earlier_domain())):
        found = diversity(behaviours(drawn(count, choices, "behaviour"), say))
        yield (
            f"{count} random draws {name}: {found.draws} compute something, {found.distinct} of them distinct; "
            f"{found.apart:.3f} apart, {found.nearest:.3f} from the nearest; {found.directions:.1f} directions"
        )


@click.command()
@click.option("--draws", type=click.IntRange(min=3), default=2_000, show_default=True, help="compared in what they do")
@click.option("--gates", type=click.IntRange(min=0), default=20, show_default=True, help="draws that the gates judge")
def main(draws: int, gates: int) -> None:
    """The grammar's size, what of the panel it reaches, and what its random draws do."""
    import torch

    torch.set_num_threads(1)
    say: Say = lambda line: click.echo(line, err=True)  # noqa: E731
    for lines in (size_lines(), reach_lines(), gate_lines(gates, say), diversity_lines(draws, say)):
        for line in lines:
            click.echo(line)
