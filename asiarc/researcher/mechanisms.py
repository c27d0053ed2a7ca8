"""What each choice of the grammar is said to do: words for motivations, predictions, and what a choice needs.

A tag is a choice written ``field=value``, the same word that cognition entries and insights use. Expectations
name the task that a choice should help or cost; they are predictions from the literature, written before any
trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asiarc.core.genome import Genome, defaults, domain

Tag = str


@dataclass(frozen=True)
class Trait:
    """A choice in words: what it is, why one takes it, and the tasks that it should help and cost."""

    phrase: str
    because: str
    helps: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()


TRAITS: Mapping[Tag, Trait] = {
    "memory=additive": Trait(
        "an additive memory", "nothing is erased by accident", ("recall",), ("overwrite",)
    ),
    "memory=retention": Trait(
        "a memory that fades at fixed rates", "near and far past get heads of their own", ("text",)
    ),
    "memory=ssd": Trait(
        "a scalar forget gate",
        "the token decides how much of the past stays",
        ("text", "reset"),
        ("overwrite",),
    ),
    "memory=gla": Trait(
        "a forget gate a channel",
        "slow and fast facts need different lifetimes",
        ("text", "reset"),
        ("overwrite",),
    ),
    "memory=delta": Trait(
        "the delta rule",
        "a key's old value is erased before the new one is written",
        ("overwrite",),
        ("reset",),
    ),
    "memory=gated_delta": Trait(
        "the gated delta rule",
        "precise overwriting and forgetting of everything mend each other's weakness",
        ("text", "overwrite", "reset"),
    ),
    "memory=kda": Trait(
        "the delta rule with a forget gate a channel",
        "channels with different lifetimes keep position as well as content",
        ("text", "overwrite", "reset"),
    ),
    "memory=delta_product": Trait(
        "several delta steps a token",
        "a product of reflections moves the state further",
        ("s3", "overwrite"),
        ("text",),
    ),
    "memory=gated_delta_product": Trait(
        "several delta steps a token under a forget gate",
        "a product of reflections tracks state and the gate clears it",
        ("s3", "reset"),
    ),
    "decay=step": Trait("Mamba-2's step as the decay", "rates start spread over the heads", ("text",)),
    "decay=sigmoid": Trait(
        "a sigmoid decay of temperature 16", "a fresh model starts out remembering", ("recall",)
    ),
    "coupled_input=True": Trait(
        "input scaled by the step", "what lets go of the past takes in the present", ("selective_copying",)
    ),
    "negative_eigenvalues=True": Trait(
        "write strengths up to two", "a negative eigenvalue lets one write flip a state", ("parity", "s3")
    ),
    "steps=3": Trait("three delta steps a token", "more reflections reach more permutations", ("s3",)),
    "features=identity": Trait(
        "plain queries and keys", "signed features keep directions apart", ("recall",)
    ),
    "features=silu": Trait("SiLU features", "near-sparse keys collide less", ("recall",)),
    "features=relu": Trait("ReLU features", "exact zeros keep unrelated keys orthogonal", ("recall",)),
    "features=elu1": Trait(
        "ELU + 1 features", "positive weights read as an attention distribution", ("compression",)
    ),
    "features=softmax": Trait(
        "softmax features", "each key picks few channels, as a soft address", ("recall",)
    ),
    "key_norm=l2": Trait(
        "unit-length keys", "every write moves the memory by its strength alone", ("overwrite",)
    ),
    "key_norm=l1": Trait("keys of unit sum", "dense keys write softly, sparse keys fully", ("overwrite",)),
    "shared_keys=True": Trait(
        "keys shared by all heads", "parameters move from addressing to content", ("text",)
    ),
    "rotary=True": Trait("rotary positions", "what is read may depend on distance", ("in_context_recall",)),
    "convolution=2": Trait(
        "a convolution of 2", "keys see the token before, which bigrams need", ("fuzzy_recall",)
    ),
    "convolution=3": Trait("a convolution of 3", "keys see the last tokens", ("text", "fuzzy_recall")),
    "convolution=4": Trait("a convolution of 4", "keys see the last tokens", ("text", "fuzzy_recall")),
    "short_fir=3": Trait("a short path of 3 taps", "local patterns need not pass the memory", ("text",)),
    "short_fir=5": Trait("a short path of 5 taps", "local patterns need not pass the memory", ("text",)),
    "short_fir=7": Trait("a short path of 7 taps", "local patterns need not pass the memory", ("text",)),
    "long_fir=15": Trait(
        "a long path of 15 taps", "words and phrases are kept exactly for a while", ("text",)
    ),
    "long_fir=25": Trait(
        "a long path of 25 taps", "words and phrases are kept exactly for a while", ("text",)
    ),
    "long_fir=31": Trait(
        "a long path of 31 taps", "phrases are kept exactly for a while", ("text", "compression")
    ),
    "long_fir=63": Trait(
        "a long path of 63 taps", "phrases are kept exactly for a while", ("text", "compression")
    ),
    "value_path=True": Trait(
        "a direct value path", "the token itself need not be recalled", ("memorisation",)
    ),
    "router=sum": Trait(
        "a plain sum of the paths", "no gate to learn before the paths are", ("compression",)
    ),
    "router=softmax": Trait(
        "a softmax router", "each token shares one unit of attention among the paths", ("text",)
    ),
    "router=sigmoid": Trait(
        "independent sigmoid gates", "one path need not lose what another gains", ("recall",)
    ),
    "router=hierarchical": Trait(
        "a two-stage router", "one path is set apart before the rest share what is left", ("recall", "text")
    ),
    "router_first=memory": Trait(
        "memory against local paths first", "the memory is kept from starving", ("recall",)
    ),
    "router_first=value": Trait(
        "copy against context first", "copying is the coarsest decision", ("memorisation",)
    ),
    "router_depth=mlp": Trait(
        "a router with a hidden layer", "the mix may depend on combinations", ("text",)
    ),
    "statistics=moments": Trait(
        "mean and deviation of each path in the router", "the gate sees what it mixes", ("text",)
    ),
    "statistics=magnitude": Trait(
        "each path's magnitude in the router", "the gate sees which path speaks up", ("recall",)
    ),
    "statistics=energy": Trait(
        "each path's energy in the router", "the gate sees whether the memory answered", ("recall",)
    ),
    "statistics=all": Trait(
        "four statistics of each path in the router", "the gate sees what it mixes", ("text",)
    ),
    "temperature=sharp": Trait(
        "a sharpened router", "near-hard choices separate the paths' roles", ("recall",)
    ),
    "temperature=learnable": Trait(
        "a temperature a head", "each head decides how hard it chooses", ("text",)
    ),
    "floor=fixed": Trait(
        "a fixed floor under every path", "a path that is never used never learns", ("overwrite",)
    ),
    "floor=learnable": Trait(
        "a learned floor under every path", "each head keeps what it needs open", ("overwrite",)
    ),
    "lean=memory": Trait(
        "a router that starts at the memory", "the memory trains first", ("overwrite", "recall")
    ),
    "lean=value": Trait(
        "a router that starts at the values", "the layer starts near the identity", ("text",)
    ),
    "residual=skip": Trait(
        "a skip of the values past the memory", "the token itself need not be recalled", ("text",)
    ),
    "residual=gated": Trait("a gated residual path", "a local signal always has a way through", ("text",)),
    "norm=none": Trait(
        "no norm a head", "how strongly the memory answered reaches the next layer", ("recall",), ("text",)
    ),
    "output_gate=silu": Trait("a SiLU output gate", "what was recalled is let through by channel", ("text",)),
    "output_gate=sigmoid": Trait(
        "a sigmoid output gate", "channels can be shut without changing sign", ("text",)
    ),
    "output_gate=head": Trait(
        "an output gate a head after the norm", "an idle head can be silenced", ("text",)
    ),
    "gate_rank=low": Trait(
        "a low-rank output gate", "the gate's parameters are better spent in the MLP", ("text",)
    ),
}

THINGS: Mapping[str, str] = {
    "convolution": "short convolution",
    "key_norm": "key norm",
    "short_fir": "short path",
    "long_fir": "long path",
    "value_path": "value path",
    "shared_keys": "shared keys",
    "rotary": "rotary positions",
    "coupled_input": "scaling of the input by the step",
    "negative_eigenvalues": "negative eigenvalues",
    "router": "router",
    "statistics": "statistics in the router",
    "temperature": "router temperature",
    "floor": "router floor",
    "residual": "residual path",
    "output_gate": "output gate",
}
"""What the absence of a field's choices is the absence of."""

PLAIN: Mapping[Tag, str] = {
    "steps=2": "two delta steps a token",
    "router_depth=linear": "a linear router",
    "lean=even": "a router that starts even",
    "norm=rms": "an RMSNorm a head",
    "gate_rank=full": "a full-rank output gate",
}

_PATHS: Mapping[str, Any] = {"short_fir": 3, "value_path": True}
_ROUTER: Mapping[str, Any] = {**_PATHS, "router": "softmax"}
NEEDS: Mapping[str, Mapping[str, Any]] = {
    "decay": {"memory": "gated_delta"},
    "coupled_input": {"memory": "ssd", "decay": "step"},
    "negative_eigenvalues": {"memory": "delta"},
    "steps": {"memory": "delta_product"},
    "key_norm": {"features": "silu"},
    "shared_keys": {"memory": "gated_delta"},
    "router": {**_PATHS, "long_fir": 31},
    "router_first": {**_PATHS, "long_fir": 31, "router": "hierarchical"},
    "router_depth": _ROUTER,
    "statistics": _ROUTER,
    "temperature": _ROUTER,
    "floor": _ROUTER,
    "lean": _ROUTER,
    "residual": {"short_fir": 3},
    "norm": {"memory": "delta"},
    "gate_rank": {"output_gate": "silu"},
}
"""Companions with which a field's choice takes effect where it has none alone."""

COSTLY = frozenset(
    {"memory=delta_product", "memory=gated_delta_product", "steps=3", "long_fir=63", "router_depth=mlp"}
)
"""Choices that cost much compute, state or parameters."""


def tag_of(field: str, value: Any) -> Tag:
    """A choice as a tag."""
    return f"{field}={value}"


def choice_of(tag: Tag) -> tuple[str, Any] | None:
    """The field and value of a tag, or None where the grammar has no such choice."""
    field, _, written = tag.partition("=")
    return next(((field, value) for value in domain().get(field, ()) if str(value) == written), None)


def mechanism_names() -> tuple[Tag, ...]:
    """Every choice of the grammar as a tag."""
    return tuple(tag_of(field, value) for field, values in domain().items() for value in values)


def phrase(tag: Tag) -> str:
    """A choice in words."""
    if tag in TRAITS:
        return TRAITS[tag].phrase
    return PLAIN.get(tag) or f"no {THINGS[tag.partition('=')[0]]}"


def with_choice(genome: Genome, field: str, value: Any) -> Genome:
    """The genome with one choice changed, and with what that choice needs where it has no effect alone."""
    child = Genome(**genome.model_dump() | {field: value})
    if getattr(child, field) != value:
        child = Genome(**genome.model_dump() | dict(NEEDS.get(field, {})) | {field: value})
    return child


def difference(parent: Genome, child: Genome) -> tuple[Tag, ...]:
    """The choices that the child has and the parent has not, in the order of the fields."""
    before = parent.model_dump()
    return tuple(
        tag_of(field, value) for field, value in child.model_dump().items() if before[field] != value
    )


def describe(genome: Genome) -> str:
    """The mixer in one line: its memory, how paths are mixed, and how it is gated."""
    parts = [phrase(tag_of("memory", genome.memory))]
    if len(genome.paths()) > 1:
        parts.append(f"{phrase(tag_of('router', genome.router))} over {', '.join(genome.paths())}")
    if genome.output_gate != defaults()["output_gate"]:
        parts.append(phrase(tag_of("output_gate", genome.output_gate)))
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
