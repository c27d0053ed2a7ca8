"""The offline researcher: proposes by mutation, crossover and insertion over typed mechanisms.

A proposal is a pure function of its context. Choices that an insight favours or a cognition entry describes
are drawn more often, choices that an insight advises against less often, and so are costly ones after a
candidate was turned away for its size. What was proposed before is never proposed again: the draw is
repeated, and long repetition changes more.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from asiarc.core.candidate import content_address
from asiarc.core.errors import BudgetExhaustedError
from asiarc.core.genome import COSTLY, TRAITS, Genome, Tag, defaults, domain, random_genome
from asiarc.core.proposal import CognitionHit, Context, Origin, Proposal, Relative
from asiarc.core.seeds import rng_of
from asiarc.researcher.designs import DESIGNS, baseline_genomes, other_layouts
from asiarc.researcher.mechanisms import choice_of, describe, difference, phrase, tag_of, with_choice
from asiarc.researcher.render import render

DRAWS = 500
"""Draws before a researcher gives up; the grammar is so large that only a wrong `known` gets there."""

RESOURCE_GATES = frozenset({"flops", "parameters", "state_bytes", "size", "complexity"})

ORGANS: tuple[tuple[str, ...], ...] = (
    ("memory", "decay", "time_scales", "turn", "coupled_input", "negative_eigenvalues", "steps"),
    ("features", "key_norm", "shared_keys", "rotary", "convolution", "convolved", "shift"),
    ("short_fir", "long_fir", "local", "value_path", "window", "product", "router", "router_first"),
    ("router_depth", "statistics", "temperature", "floor", "lean"),
    ("residual", "norm", "output_gate", "gate_rank"),
)
"""Fields that crossover takes together, because they work together."""


@dataclass(frozen=True)
class Step:
    """A child while it is being made: its genome, how it was made, and what a reference gave it."""

    genome: Genome
    how: str
    donated: tuple[Tag, ...] = ()
    donor: str = ""


class Hints:
    """What the context says about single choices."""

    def __init__(self, context: Context) -> None:
        self.hits: dict[Tag, CognitionHit] = {hit.mechanism: hit for hit in reversed(context.cognition)}
        named = [tag for insight in context.insights for tag in insight.mechanisms]
        self.favoured = {tag for tag in named if not tag.startswith("-")}
        self.avoided = {tag.removeprefix("-") for tag in named if tag.startswith("-")}
        self.weak = {insight.weakness for insight in context.insights}
        self.tight = any(failure.gate in RESOURCE_GATES for failure in context.failed)
        self.parent = context.parent.address

    def weight(self, tag: Tag) -> float:
        """How often a choice is drawn, relative to one that nothing is known about."""
        trait = TRAITS.get(tag)
        weight = 6.0 if tag in self.hits else 1.0
        weight *= 4.0 if tag in self.favoured else 1.0
        weight *= 0.2 if tag in self.avoided else 1.0
        weight *= 2.0 if trait and self.weak & set(trait.helps) else 1.0
        return weight * (0.3 if self.tight and tag in COSTLY else 1.0)

    def suggestions(self) -> list[Tag]:
        """Choices named by a cognition entry or an insight, in a fixed order; unknown names are skipped."""
        return sorted(tag for tag in {*self.hits, *self.favoured} - self.avoided if choice_of(tag))

    def origin(self, tag: Tag) -> Origin:
        """Where a changed choice comes from."""
        if tag in self.hits:
            return Origin(element=tag, kind="cognition", reference=self.hits[tag].entry)
        if tag in self.favoured:
            return Origin(element=tag, kind="experience", reference=self.parent)
        return Origin(element=tag, kind="original")


def genome_of(relative: Relative) -> Genome | None:
    """A relative's genome: its own, that of the baseline it is, or None where it is foreign."""
    return Genome(**relative.genome) if relative.genome else baseline_genomes().get(relative.address)


def mutate(genome: Genome, hints: Hints, rng: random.Random, changes: int) -> Step:
    """Change some choices, each drawn by its weight among those that have an effect."""
    for _ in range(changes):
        moves = {
            (name, value): child
            for name, values in domain().items()
            for value in values
            if value != getattr(genome, name)
            and getattr(child := Genome(**genome.model_dump() | {name: value}), name) == value
        }
        weights = [hints.weight(tag_of(*move)) / len(domain()[move[0]]) for move in moves]
        genome = moves[rng.choices(list(moves), weights)[0]]
    return Step(genome, "changed")


def insert(genome: Genome, hints: Hints, rng: random.Random) -> Step | None:
    """Take in one choice that a cognition entry or an insight names, with what it needs to have an effect."""
    children = {}
    for tag in hints.suggestions():
        name, value = choice_of(tag) or ("", None)
        child = with_choice(genome, name, value)
        if child != genome and getattr(child, name) == value:
            children[tag] = child
    if not children:
        return None
    tag = rng.choices(list(children), [hints.weight(tag) for tag in children])[0]
    return Step(children[tag], "taken in")


def cross(genome: Genome, references: Sequence[Relative], rng: random.Random) -> Step | None:
    """Take one or two organs from a reference that differs there."""
    options = []
    for reference in references:
        other = genome_of(reference)
        for organ in ORGANS if other else ():
            child = Genome(**genome.model_dump() | {name: getattr(other, name) for name in organ})
            if child != genome:
                options.append((reference, organ))
    if not options:
        return None
    reference, organ = rng.choice(options)
    more = [other for donor, other in options if donor is reference and other != organ]
    names = [*organ, *(rng.choice(more) if more and rng.random() < 0.5 else ())]
    donor = genome_of(reference)
    child = Genome(**genome.model_dump() | {name: getattr(donor, name) for name in names})
    given = {tag_of(name, getattr(donor, name)) for name in names}
    donated = tuple(tag for tag in difference(genome, child) if tag in given)
    return Step(child, f"taken from {reference.name}", donated, reference.address)


class GrammarResearcher:
    """Mutation, crossover and insertion over the parent's mechanisms, steered by insights and cognition."""

    def propose(self, context: Context) -> Proposal:
        """A new candidate; raises `BudgetExhaustedError` when `DRAWS` draws in a row were known already."""
        rng = rng_of(context.seed, "grammar", context.generation, context.index)
        known = context.known | {context.parent.address}
        start = genome_of(context.parent)
        parent = start or DESIGNS["delta_net"]
        hints = Hints(context)
        for draw in range(DRAWS):
            step = self._step(parent, context, hints, rng, draw)
            address = content_address(render(step.genome))
            if address not in known and other_layouts().get(address) not in known:
                return _proposal(context, parent if start else None, step, hints, address)
        raise _exhausted(context)

    @staticmethod
    def _step(parent: Genome, context: Context, hints: Hints, rng: random.Random, draw: int) -> Step:
        """One draw: insertion, crossover or mutation, whichever has something to work with."""
        kind = rng.choices(("insert", "cross", "mutate"), (0.3, 0.25, 0.45))[0]
        step = None
        if kind == "insert":
            step = insert(parent, hints, rng)
        elif kind == "cross":
            step = cross(parent, context.references, rng)
        repeated = draw // 20
        if step and repeated:
            further = mutate(step.genome, hints, rng, repeated)
            return replace(step, genome=further.genome, how=f"{step.how}, and further changed")
        return step or mutate(parent, hints, rng, rng.choices((1, 2, 3), (0.55, 0.3, 0.15))[0] + repeated)


class RandomResearcher:
    """The control arm: every mechanism drawn uniformly, whatever was learned before."""

    def propose(self, context: Context) -> Proposal:
        """A new candidate; raises `BudgetExhaustedError` when `DRAWS` draws in a row were known already."""
        rng = rng_of(context.seed, "random", context.generation, context.index)
        for _ in range(DRAWS):
            genome = random_genome(rng)
            address = content_address(render(genome))
            if address not in context.known:
                origins = tuple(Origin(element=tag, kind="original") for tag in _elements(genome))
                motivation = "Drawn at random: the control that a search has to beat. Nothing is predicted."
                name = _name(genome, address)
                return Proposal(
                    source=render(genome, f"{name}: {describe(genome)}", motivation),
                    name=name,
                    motivation=motivation,
                    origins=origins,
                    parents=(),
                    genome=genome.model_dump(),
                    predicted="nothing",
                )
        raise _exhausted(context)


def _exhausted(context: Context) -> BudgetExhaustedError:
    return BudgetExhaustedError(
        f"the grammar found nothing new in {DRAWS} draws beside {len(context.known)} known candidates; "
        "end the campaign here, or start it from another baseline"
    )


def _elements(genome: Genome) -> tuple[Tag, ...]:
    """The design elements of a genome: the memory, and every choice that is not the default."""
    return tuple(tag_of(name, value) for name, value in ({"memory": genome.memory} | genome.choices()).items())


def _name(genome: Genome, address: str) -> str:
    """A readable name that is unique to the content; a named design keeps its name."""
    named = next((name for name, known in DESIGNS.items() if known == genome), None)
    mixed = f"_{genome.router}{len(genome.paths())}" if len(genome.paths()) > 1 else ""
    return named or f"{genome.memory}{mixed}_{address[:6]}"


def _proposal(context: Context, parent: Genome | None, step: Step, hints: Hints, address: str) -> Proposal:
    """The proposal with its words: what changed, why, from where, and what should follow."""
    genome = step.genome
    changed = difference(parent, genome) if parent else _elements(genome)
    origins = []
    for tag in dict.fromkeys((*changed, *_elements(genome))):
        if tag in changed and tag not in step.donated:
            origins.append(hints.origin(tag))
        else:
            source = step.donor if tag in changed else context.parent.address
            origins.append(Origin(element=tag, kind="experience", reference=source))
    name, predicted = _name(genome, address), _prediction(parent, genome, changed)
    motivation = _motivation(context, parent, step, changed, origins, predicted)
    return Proposal(
        source=render(genome, f"{name}: {describe(genome)}", motivation),
        name=name,
        motivation=motivation,
        origins=tuple(origins),
        parents=tuple(address for address in (parent and context.parent.address, step.donor) if address),
        genome=genome.model_dump(),
        predicted=predicted,
    )


def _motivation(
    context: Context,
    parent: Genome | None,
    step: Step,
    changed: Iterable[Tag],
    origins: Iterable[Origin],
    predicted: str,
) -> str:
    start = f"From {context.parent.name}" if parent else f"{context.parent.name} is without a genome; from delta_net"
    changes = ", ".join(phrase(tag) for tag in changed)
    text = [f"{start}: {step.how}: {changes}."]
    reasons = dict.fromkeys(f"{TRAITS[tag].phrase}: {TRAITS[tag].because}" for tag in changed if tag in TRAITS)
    if reasons:
        text.append(f"Why: {'; '.join(reasons)}.")
    weak = sorted({insight.weakness for insight in context.insights if insight.weakness})
    if weak:
        text.append(f"The parent and its references are weakest on {', '.join(weak)}.")
    titles = {hit.entry: hit.title for hit in context.cognition}
    cited = dict.fromkeys(origin.reference for origin in origins if origin.kind == "cognition")
    if cited:
        text.append("After " + "; ".join(f"{titles[entry]} ({entry})" for entry in cited) + ".")
    return " ".join(text) + f"\n\nPrediction against the parent: {predicted}."


def _prediction(parent: Genome | None, child: Genome, changed: Iterable[Tag]) -> str:
    """Tasks that should move: what the new choices help or cost, less what the replaced ones did."""
    balance: dict[str, int] = {}
    replaced = parent.model_dump() if parent else {}

    def count(tag: Tag, sign: int) -> None:
        trait = TRAITS.get(tag)
        for tasks, direction in ((trait.helps, sign), (trait.costs, -sign)) if trait else ():
            for task in tasks:
                balance[task] = balance.get(task, 0) + direction

    for tag in changed:
        name = tag.partition("=")[0]
        count(tag, 1)
        if name in replaced and replaced[name] != defaults()[name]:
            count(tag_of(name, replaced[name]), -1)
    moved = [f"{task} {'better' if value > 0 else 'worse'}" for task, value in sorted(balance.items()) if value]
    return ", ".join(moved) or "no task moves beyond noise"
