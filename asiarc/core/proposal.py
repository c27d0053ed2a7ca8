"""What a researcher is given and what it answers: plain frozen data that can be stored and replayed.

A researcher is any object with `propose`. It is a pure function of its context: the same context gives the
same proposal, and what randomness it needs comes from `asiarc.core.seeds.rng_of(context.seed, ...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import TypeAdapter

from asiarc.core.recipe import TrialRecipe

Data = TypeVar("Data")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where one design element of a proposal comes from, attached when the element is chosen.

    `reference` is the cognition entry's id, the relative's content address, or empty where it is original.
    """

    element: str
    kind: Literal["cognition", "experience", "original"]
    reference: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A candidate that a gate rejected (or that crashed or timed out: then that is the gate), and why."""

    address: str
    gate: str
    reason: str
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One candidate as a researcher proposes it.

    `genome` is the researcher's own typed description of the source, where it has one; `predicted` says
    which task should move which way against the parent, before anything is trained. `failure` is set where
    nothing that can be built came of it: the source then holds what did come. `author` is who brought it from outside;
    empty: the campaign's own researcher.
    """

    source: str
    name: str
    motivation: str
    origins: tuple[Origin, ...]
    parents: tuple[str, ...]
    genome: dict[str, Any] | None
    predicted: str
    failure: Failure | None = None
    author: str = ""


@dataclass(frozen=True, kw_only=True)
class Relative:
    """A candidate that was scored before: the parent, a reference to learn from, or a sibling.

    `scores` holds "gain", over the baseline that the search started from, and the gain on each task; `standing` says
    them in words, with rung, seeds and interval, and how it compares with the proposal's parent where both stand.
    """

    address: str
    name: str
    source: str
    genome: dict[str, Any] | None
    scores: dict[str, float]
    standing: str = ""
    insight: str | None = None
    motivation: str = ""


@dataclass(frozen=True, kw_only=True)
class Insight:
    """What the analyst concluded: the text, the task that is weakest, and mechanisms by name.

    A mechanism with a leading minus is advised against: ``("gated_delta", "-rotary")``. `query` is what the
    cognition base should be asked, where that is more than the name of the weakness.
    """

    text: str
    weakness: str
    mechanisms: tuple[str, ...] = ()
    query: str = ""


@dataclass(frozen=True, kw_only=True)
class CognitionHit:
    """An entry of the cognition base that answers the parent's weakness, and the mechanism it describes.

    `mechanism` is the grammar's name for it, empty where the grammar has none.
    """

    entry: str
    title: str
    mechanism: str


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A proposal made before in this run, for the check that a new one is new."""

    address: str
    name: str
    motivation: str


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What proposals of one model came to: how many were asked for, how many have ended, their reward and price."""

    model: str
    asked: int
    ended: int
    reward: float
    usd: float


@dataclass(frozen=True, kw_only=True)
class TaskTerms:
    """A task of explore: what it asks, in which unit, and what its score is for (decides, capability, reported)."""

    name: str
    summary: str
    unit: str
    role: str
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A baseline; `standing` is its gain over the start in words. One that `is_local` has filters and no memory."""

    name: str
    address: str
    source: str
    standing: str = ""
    is_local: bool = False


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a campaign measures and allows, the same for every proposal but for the standing of its baselines.

    `recipe` and `rungs` (steps) are those of explore's text, `stakes` says what each rung and stage decides. `caps` are
    the most of a resource that a mixer may take, counted as the gates count. `hidden` are the units that an MLP is left
    with, by the parameters of the mixer, where models are brought to one size; the first is start_from's own.
    """

    start_from: str
    recipe: TrialRecipe
    rungs: tuple[int, ...]
    stakes: tuple[str, ...]
    tasks: tuple[TaskTerms, ...]
    caps: dict[str, float]
    hidden: dict[int, int]
    baselines: tuple[Rival, ...]


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What the search believes of one candidate: its gain on the last rung, and how likely it is the best of all."""

    name: str
    address: str
    mean: float
    sd: float
    chance: float


@dataclass(frozen=True, kw_only=True)
class MechanismEffect:
    """What goes with a mechanism in the population so far: a difference of means and half its 95 % interval."""

    mechanism: str
    mean: float
    radius: float
    have: int
    lack: int


@dataclass(frozen=True, kw_only=True)
class Belief:
    """What the search knows, and how surely: the candidates of most promise first."""

    worths: tuple[Worth, ...] = ()
    effects: tuple[MechanismEffect, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """A prediction that was made before training, and what was measured against the parent: directions (better, worse,
    same) and gains; `size` None where none was named."""

    name: str
    task: str
    predicted: str
    size: float | None
    happened: str
    change: float


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything that a proposal may depend on.

    `seed`, `generation` and `index` (within the generation) address the draw; `known` holds the content
    addresses already proposed, none of which may be proposed again. `tasks` are those that explore measures;
    `earlier` (only where motivations are compared) and `tried` (only where models are asked) are of this run.
    `queries` are what the cognition base was asked. The grammar, which reads none of them, is told no `terms`,
    `belief` and `foretold`.
    """

    seed: int
    generation: int
    index: int
    parent: Relative
    references: tuple[Relative, ...] = ()
    insights: tuple[Insight, ...] = ()
    cognition: tuple[CognitionHit, ...] = ()
    failed: tuple[Failure, ...] = ()
    known: frozenset[str] = frozenset()
    siblings: tuple[Relative, ...] = ()
    tasks: tuple[str, ...] = ()
    earlier: tuple[Earlier, ...] = ()
    tried: tuple[Tried, ...] = ()
    queries: tuple[str, ...] = ()
    terms: Terms | None = None
    belief: Belief | None = None
    foretold: tuple[Foretold, ...] = ()


class Researcher(Protocol):
    """Proposes candidates."""

    def propose(self, context: Context) -> Proposal:
        """One candidate that is not in `context.known`, a pure function of the context."""
        ...


@runtime_checkable
class Reviser(Protocol):
    """A researcher that can also mend what was turned away."""

    def revise(self, proposal: Proposal, failure: Failure, number: int, version: int) -> Proposal:
        """The proposal mended after a gate's rejection or a crash, a pure function of its arguments."""
        ...


def as_json(data: Context | Proposal) -> dict[str, Any]:
    """A context or proposal as JSON values; sets come out sorted, so equal data give equal text."""
    encoded: dict[str, Any] = TypeAdapter(type(data)).dump_python(data, mode="json")
    return encoded | {key: sorted(value) for key, value in encoded.items() if key == "known"}


def from_json(kind: type[Data], encoded: Mapping[str, Any]) -> Data:
    """The inverse of `as_json`; pydantic's ValidationError names what does not fit."""
    return TypeAdapter(kind).validate_python(encoded)
