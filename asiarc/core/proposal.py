"""What a researcher is given and what it answers: plain frozen data that can be stored and replayed.

A researcher is any object with `propose`. It is a pure function of its context: the same context gives the
same proposal, and what randomness it needs comes from `asiarc.core.seeds.rng_of(context.seed, ...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import TypeAdapter

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
class Context:
    """Everything that a proposal may depend on.

    `seed`, `generation` and `index` (within the generation) address the draw; `known` holds the content
    addresses already proposed, none of which may be proposed again. `tasks` are those that explore measures;
    `earlier` (only where motivations are compared) and `tried` (only where models are asked) are of this run.
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
