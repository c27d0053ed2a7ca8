"""The domain of patterns: what evolves is what fills the blocks of a model, over a set of slots that a campaign names.

A candidate is a text, ``layers = ("gated_delta_net", "gated_delta_net", "softmax_attention")``, in its shortest form:
what repeats to the same blocks is the same candidate. A baseline is written as slots and how often
(``8*gated_delta_net``, a pure stack; ``3*gated_delta_net+softmax_attention``, a hybrid of 3:1), or ``random_7``, the
seventh draw. Gates are arithmetic on what the gates of mixers measured, so that none of them runs a program.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from asiarc.core.candidate import content_address
from asiarc.core.errors import BudgetExhaustedError, CandidateError, unknown_name
from asiarc.core.pattern import CANDIDATE, Layers, Slot, mixers_of, pattern_of, pattern_text, shortest, slot_of
from asiarc.core.proposal import Context, Origin, Proposal, Researcher
from asiarc.core.seeds import rng_of
from asiarc.domains import Domain, Examined, Part, Row, Setting

DRAWS = 500  # before a researcher gives up
RANDOM = re.compile(r"random_(\d+)")
TERM = re.compile(r"(?:(\d+)\*)?([^*+]+)")


# --- baselines --------------------------------------------------------------------------------------------------------


def baseline(given: str, setting: Setting) -> str:
    """The source of a baseline by what it is declared as; `CandidateError` says what could stand there."""
    if drawn := RANDOM.fullmatch(given):
        return pattern_text(random_pattern(rng_of("pattern", "baseline", int(drawn[1])), setting), given)
    layers: list[str] = []
    if given in setting.slots:
        raise CandidateError(f"{given!r} is a slot, and no pattern; a pure stack is {setting.blocks}*{given}")
    for term in given.split("+"):
        found = TERM.fullmatch(term.strip())
        if found is None:
            raise CandidateError(f"{given!r} is no pattern; write slots and how often: 3*{setting.slots[0]}+mlp")
        if found[2] not in setting.slots:
            raise CandidateError(unknown_name("slot", found[2], setting.slots))
        layers += [found[2]] * int(found[1] or 1)
    if not 0 < len(layers) <= setting.blocks:
        raise CandidateError(f"{given!r} has {len(layers)} slots, and the models have {setting.blocks} blocks")
    return pattern_text(shortest(layers), given)


# --- gates ------------------------------------------------------------------------------------------------------------


def _readable(layers: Layers | None, parts: Mapping[str, Part], setting: Setting) -> str:
    if layers is None:
        return f'it is no pattern; write one assignment, layers = ("{setting.slots[0]}", ...)'
    try:
        mixers = mixers_of(layers)
    except CandidateError as error:
        return str(error)
    if any(slot_of(text).mixer == CANDIDATE for text in layers):
        return f"{CANDIDATE!r} fills no slot where the pattern is what evolves; name a mixer: {', '.join(parts)}"
    strange = next((name for name in mixers if name not in parts), None)
    return unknown_name("mixer", strange, parts) if strange else ""


def _length(layers: Layers, parts: Mapping[str, Part], setting: Setting) -> str:
    slots, most = len(layers), setting.blocks
    return f"{slots} slots do not fit the {most} blocks of a model; leave {slots - most} out" if slots > most else ""


def _mixes(layers: Layers, parts: Mapping[str, Part], setting: Setting) -> str:
    named = ", ".join(parts)
    return "" if mixers_of(layers) else f"no slot has a mixer, so no token reads another; take in one of {named}"


def _quadratic(layers: Layers, parts: Mapping[str, Part], setting: Setting) -> str:
    names = [block.mixer for block in _blocks(layers, setting)]
    share = sum(bool(name) and parts[name].is_quadratic for name in names) / len(names)
    if share <= setting.quadratic:
        return ""
    grow = ", ".join(name for name in mixers_of(layers) if parts[name].is_quadratic)
    return f"{share:.0%} of the blocks grow with the text ({grow}), allowed are {setting.quadratic:.0%}; replace some"


GATES: tuple[tuple[str, Callable[[Layers, Mapping[str, Part], Setting], str]], ...] = (
    ("length", _length),
    ("mixing", _mixes),
    ("quadratic", _quadratic),
)


def examine(source: str, parts: Mapping[str, Part], setting: Setting) -> Examined:
    """The gates in order, up to the first that rejects; measured is a block in the mean, of the fewest that models
    have."""
    layers = pattern_of(source)
    findings = [_finding("readable", _readable(layers, parts, setting))]
    for name, gate in GATES:
        stopped = findings[-1]["verdict"] != "passed"
        findings.append(
            _finding(name, "", "not run") if stopped or layers is None else _finding(name, gate(layers, parts, setting))
        )
    if layers is None or findings[-1]["verdict"] != "passed":
        return Examined(tuple(findings))
    names = [block.mixer for block in _blocks(layers, setting) if block.mixer]
    sizes = ("parameters", "state_bytes", "flops_per_token")
    means = {size: sum(parts[name].measures[size] for name in names) / setting.blocks for size in sizes}
    return Examined(tuple(findings), means)


def _finding(gate: str, reason: str, verdict: str = "") -> Row:
    said = verdict or ("rejected" if reason else "passed")
    return {"gate": gate, "verdict": said, "reason": reason, "example": {}, "expected": "", "actual": "", "cpu_s": 0.0}


def _blocks(layers: Layers, setting: Setting) -> tuple[Slot, ...]:
    return tuple(slot_of(layers[index % len(layers)]) for index in range(setting.blocks))


# --- grammar ----------------------------------------------------------------------------------------------------------


def random_pattern(rng: random.Random, setting: Setting) -> Layers:
    """A length that divides the blocks, and every slot, drawn uniformly, until some slot has a mixer."""
    lengths = [n for n in range(1, setting.blocks + 1) if setting.blocks % n == 0]
    while True:
        layers = shortest([rng.choice(setting.slots) for _ in range(rng.choice(lengths))])
        if mixers_of(layers):
            return layers


def _replace(layers: Layers, rng: random.Random, setting: Setting) -> Layers:
    at = rng.randrange(len(layers))
    return (*layers[:at], rng.choice(setting.slots), *layers[at + 1 :])


def _swap(layers: Layers, rng: random.Random, setting: Setting) -> Layers:
    one, other = rng.randrange(len(layers)), rng.randrange(len(layers))
    found = [*layers]
    found[one], found[other] = found[other], found[one]
    return tuple(found)


def _insert(layers: Layers, rng: random.Random, setting: Setting) -> Layers:
    at = rng.randrange(len(layers) + 1)
    return (*layers[:at], rng.choice(setting.slots), *layers[at:])


def _remove(layers: Layers, rng: random.Random, setting: Setting) -> Layers:
    at = rng.randrange(len(layers))
    return layers[:at] + layers[at + 1 :]


def _double(layers: Layers, rng: random.Random, setting: Setting) -> Layers:
    return _replace(layers * 2, rng, setting)


MOVES = {"replaced": _replace, "swapped": _swap, "inserted": _insert, "removed": _remove, "repeated": _double}


def mutate(layers: Layers, rng: random.Random, setting: Setting) -> tuple[Layers, str]:
    """(a pattern that is one move away, its shortest form; the move): of slots of the campaign, no longer than its
    models, with a mixer; where no move of 20 leads to one, a random pattern."""
    for _ in range(20):
        move = rng.choice([*MOVES])
        found = MOVES[move](layers, rng, setting)
        if 0 < len(found) <= setting.blocks and mixers_of(found) and shortest(found) != layers:
            return shortest(found), move
    return random_pattern(rng, setting), "drawn anew"


def cross(layers: Layers, other: Layers, rng: random.Random, setting: Setting) -> Layers | None:
    """The first blocks of one and the last of another; None where that is either of them, or has no mixer."""
    mine, theirs = ((one * setting.blocks)[: setting.blocks] for one in (layers, other))
    cut = rng.randrange(1, setting.blocks) if setting.blocks > 1 else 0
    found = shortest(mine[:cut] + theirs[cut:])
    return found if found not in (layers, other) and mixers_of(found) else None


class PatternResearcher:
    """Mutation of the parent's pattern, and crossover with a reference's."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def propose(self, context: Context) -> Proposal:
        """A new pattern; raises `BudgetExhaustedError` when `DRAWS` draws in a row were known already."""
        rng = rng_of(context.seed, "pattern", context.generation, context.index)
        parent = pattern_of(context.parent.source) or random_pattern(rng, self.setting)
        return _first_new(context, self._children(context, parent, rng))

    def _children(self, context: Context, parent: Layers, rng: random.Random) -> Iterator[Proposal]:
        donors = [(one, layers) for one in context.references if (layers := pattern_of(one.source))]
        for draw in range(DRAWS):
            donor, other = rng.choice(donors) if donors and rng.random() < 0.3 else (None, parent)
            child = cross(parent, other, rng, self.setting) if donor else None
            how = f"the first blocks of {context.parent.name}, the last of {donor.name}" if donor and child else ""
            for _ in range(0 if child and draw < 20 else min(4, 1 + draw // 20)):
                child, move = mutate(child or parent, rng, self.setting)
                how += f"{'; ' if how else ''}{move}"
            assert child is not None, "crossed or mutated"
            parents = (context.parent.address, *([donor.address] if donor else []))
            yield _proposal(child, f"From {context.parent.name}: {how}.", parents)


class RandomPatterns:
    """The control arm: every pattern drawn, whatever was learned before."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def propose(self, context: Context) -> Proposal:
        """A new pattern; raises `BudgetExhaustedError` when `DRAWS` draws in a row were known already."""
        rng = rng_of(context.seed, "random", context.generation, context.index)
        said = "Drawn at random: the control that a search has to beat."
        return _first_new(context, (_proposal(random_pattern(rng, self.setting), said, ()) for _ in range(DRAWS)))


def _first_new(context: Context, drawn: Iterator[Proposal]) -> Proposal:
    known = context.known | {context.parent.address}
    found = next((one for one in drawn if content_address(one.source) not in known), None)
    if found is None:
        raise BudgetExhaustedError(
            f"nothing new in {DRAWS} draws beside {len(known)} known patterns; end the campaign here, or give it more "
            "slots or blocks"
        )
    return found


def _proposal(layers: Layers, said: str, parents: tuple[str, ...]) -> Proposal:
    motivation = f"{said} {in_words(layers)}."
    return Proposal(
        source=pattern_text(layers, motivation),
        name=f"pattern_{content_address(pattern_text(layers))[:6]}",
        motivation=motivation,
        origins=tuple(Origin(element=slot, kind="original") for slot in dict.fromkeys(layers)),
        parents=parents,
        genome=genome(pattern_text(layers)),
        predicted="nothing",
    )


def in_words(layers: Layers) -> str:
    """How often each slot stands in a pattern."""
    return ", ".join(f"{times} x {slot}" for slot, times in Counter(layers).items())


def genome(source: str) -> Row:
    """A pattern in choices: how many slots it has, and each slot's share of them."""
    layers = pattern_of(source) or ()
    return {"slots": len(layers)} | {slot: f"{times}/{len(layers)}" for slot, times in sorted(Counter(layers).items())}


def researcher(name: str, setting: Setting) -> Researcher:
    """The pattern researchers by name."""
    return RandomPatterns(setting) if name == "random" else PatternResearcher(setting)


PATTERN = Domain(
    researchers=("grammar", "random"),
    novelty=("syntax",),
    resources=("state_bytes", "flops", "parameters", "quadratic"),
    researcher=researcher,
    baseline=baseline,
    examine=examine,
    genome=genome,
)
