"""The typed mechanisms that a candidate is composed of, in words too, and the genome that holds one choice of each.

A genome is flat, frozen and canonical: a choice that has no effect beside the others (a router without paths,
a step form without a gate) is set to its default when the genome is made, so that equal mixers have equal
genomes and render equal sources.

A tag is a choice written ``field=value``, the same word that cognition entries and insights use. What a choice should
help or cost are predictions from the literature, written before any trial. Beside this file only `researcher/parts.py`
knows a mechanism: how it is written.

Unusual: an entropy term for routers is missing on purpose. A mixer has no way to add to the loss, so such a
term would be inert, as it is in every released program of the paper (arXiv 2507.18074).
"""

from __future__ import annotations

import random
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

Rule = Literal[
    "additive", "retention", "ssd", "gla", "delta", "gated_delta", "kda", "delta_product", "gated_delta_product"
]
Statistic = Literal["mean", "std", "abs_mean", "l2"]

GATED = frozenset({"ssd", "gla", "gated_delta", "kda", "gated_delta_product"})
"""Memory updates whose decay the token chooses."""
PER_CHANNEL = frozenset({"gla", "kda"})
"""Memory updates that decay every key channel at its own rate."""
DELTA = frozenset({"delta", "gated_delta", "kda", "delta_product", "gated_delta_product"})
"""Memory updates that erase what a key holds before they write."""
PRODUCT = frozenset({"delta_product", "gated_delta_product"})
"""Memory updates of several delta steps a token."""

STATISTICS: Mapping[str, tuple[Statistic, ...]] = {
    "none": (),
    "moments": ("mean", "std"),
    "magnitude": ("abs_mean",),
    "energy": ("l2",),
    "all": ("mean", "std", "abs_mean", "l2"),
}
"""What of each path's output, over the channels of a head, the router sees beside the token."""


class Genome(BaseModel):
    """One choice of every mechanism; the defaults are plain linear attention with a norm a head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: Rule = "additive"
    decay: Literal["step", "sigmoid"] = "step"
    """exp(-a softplus(x w + b)) as in Mamba-2, or sigmoid(x w + b)^(1/16) as in GLA."""
    coupled_input: bool = False
    """Values are scaled by the step that also sets the decay, as in Mamba-2."""
    negative_eigenvalues: bool = False
    """beta in [0, 2], so that a write can reflect (arXiv 2411.12537)."""
    steps: Literal[2, 3] = 2
    """Delta steps a token of the delta product (arXiv 2502.10297)."""
    features: Literal["identity", "silu", "relu", "elu1", "softmax"] = "identity"
    key_norm: Literal["none", "l2", "l1"] = "none"
    shared_keys: bool = False
    """One head of queries and keys for all heads of values."""
    rotary: bool = False
    convolution: Literal[0, 2, 3, 4] = 0
    """Taps of the causal depthwise convolution on queries, keys and values; 0 is none."""
    short_fir: Literal[0, 3, 5, 7] = 0
    long_fir: Literal[0, 15, 25, 31, 63] = 0
    """Taps of a causal depthwise filter on the values, a path of its own; 0 is none."""
    value_path: bool = False
    router: Literal["none", "sum", "softmax", "sigmoid", "hierarchical"] = "none"
    router_first: Literal["memory", "value"] = "memory"
    """The path that the first stage of the hierarchical router sets apart."""
    router_depth: Literal["linear", "mlp"] = "linear"
    statistics: Literal["none", "moments", "magnitude", "energy", "all"] = "none"
    temperature: Literal["none", "sharp", "learnable"] = "none"
    floor: Literal["none", "fixed", "learnable"] = "none"
    lean: Literal["even", "memory", "value"] = "even"
    """The path that the router prefers at the start."""
    residual: Literal["none", "skip", "gated"] = "none"
    """What is added past the router: the values by a weight a head, or a gated short path."""
    norm: Literal["rms", "none"] = "rms"
    output_gate: Literal["none", "silu", "sigmoid", "head"] = "none"
    gate_rank: Literal["full", "low"] = "full"

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, choices: Any) -> Any:
        return canonical(choices) if isinstance(choices, Mapping) else choices

    def paths(self) -> tuple[str, ...]:
        """The names of the paths that the router mixes, in the order of its weights."""
        present = {"memory": True, "short": self.short_fir, "long": self.long_fir, "value": self.value_path}
        names = [name for name, there in present.items() if there]
        if self.router == "hierarchical":
            names.sort(key=lambda name: name != self.router_first)
        return tuple(names)

    def choices(self) -> dict[str, Any]:
        """The choices that differ from the default, by field."""
        return self.model_dump(exclude_defaults=True)


def _routed(g: Mapping[str, Any]) -> bool:
    return g["router"] in ("softmax", "sigmoid", "hierarchical")


MEANT: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "decay": lambda g: g["memory"] in GATED,
    "coupled_input": lambda g: g["memory"] == "ssd" and g["decay"] == "step",
    "negative_eigenvalues": lambda g: g["memory"] in DELTA,
    "steps": lambda g: g["memory"] in PRODUCT,
    "key_norm": lambda g: g["features"] != "softmax",
    "shared_keys": lambda g: g["memory"] not in PRODUCT,
    "router_first": lambda g: g["router"] == "hierarchical" and g["value_path"],
    "router_depth": _routed,
    "statistics": _routed,
    "temperature": _routed,
    "floor": _routed,
    "lean": lambda g: _routed(g) and (g["lean"] != "value" or g["value_path"]),
    "residual": lambda g: not (g["value_path"] and (g["residual"] == "skip" or not g["short_fir"])),
    "norm": lambda g: g["memory"] in DELTA,
    "gate_rank": lambda g: g["output_gate"] in ("silu", "sigmoid"),
}
"""When a field has an effect; where it has none its default stands. An unnormalised sum grows without bound,
so only the delta family, whose memory stays bounded, may leave the norm out."""


def canonical(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Complete choices, every ineffective one reset; what is unknown is left for pydantic to refuse."""
    g = defaults() | dict(choices)
    paths = 1 + bool(g["short_fir"]) + bool(g["long_fir"]) + bool(g["value_path"])
    if paths == 1:
        g["router"] = "none"
    elif g["router"] == "none":
        g["router"] = "sum"
    elif g["router"] == "hierarchical" and paths == 2:
        g["router"] = "softmax"
    for field, is_meant in MEANT.items():
        if not is_meant(g):
            g[field] = defaults()[field]
    if g["memory"] in DELTA and g["key_norm"] == "none" and g["features"] != "softmax":
        g["key_norm"] = "l2"  # with keys longer than one the delta rule diverges
    return g


@cache
def defaults() -> dict[str, Any]:
    """The default of every field."""
    return {name: field.default for name, field in Genome.model_fields.items()}


@cache
def domain() -> dict[str, tuple[Any, ...]]:
    """Every field's possible values, the default first."""
    hints = typing.get_type_hints(Genome)
    values = {name: (False, True) if hints[name] is bool else typing.get_args(hints[name]) for name in defaults()}
    return {name: tuple(sorted(options, key=lambda v: v != defaults()[name])) for name, options in values.items()}


def random_genome(rng: random.Random) -> Genome:
    """Every field drawn uniformly, then made canonical."""
    return Genome(**{field: rng.choice(options) for field, options in domain().items()})


# --- in words ---------------------------------------------------------------------------------------------------------

Tag = str


@dataclass(frozen=True)
class Trait:
    """A choice in words: what it is, why one takes it, and the tasks that it should help and cost."""

    phrase: str
    because: str
    helps: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()


TRAITS: Mapping[Tag, Trait] = {
    "memory=additive": Trait("an additive memory", "nothing is erased by accident", ("recall",), ("overwrite",)),
    "memory=retention": Trait(
        "a memory that fades at fixed rates", "near and far past get heads of their own", ("text",)
    ),
    "memory=ssd": Trait(
        "a scalar forget gate", "the token decides how much of the past stays", ("text", "reset"), ("overwrite",)
    ),
    "memory=gla": Trait(
        "a forget gate a channel", "slow and fast facts need different lifetimes", ("text", "reset"), ("overwrite",)
    ),
    "memory=delta": Trait(
        "the delta rule", "a key's old value is erased before the new one is written", ("overwrite",), ("reset",)
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
    "decay=sigmoid": Trait("a sigmoid decay of temperature 16", "a fresh model starts out remembering", ("recall",)),
    "coupled_input=True": Trait(
        "input scaled by the step", "what lets go of the past takes in the present", ("selective_copying",)
    ),
    "negative_eigenvalues=True": Trait(
        "write strengths up to two", "a negative eigenvalue lets one write flip a state", ("parity", "s3")
    ),
    "steps=3": Trait("three delta steps a token", "more reflections reach more permutations", ("s3",)),
    "features=identity": Trait("plain queries and keys", "signed features keep directions apart", ("recall",)),
    "features=silu": Trait("SiLU features", "near-sparse keys collide less", ("recall",)),
    "features=relu": Trait("ReLU features", "exact zeros keep unrelated keys orthogonal", ("recall",)),
    "features=elu1": Trait("ELU + 1 features", "positive weights read as an attention distribution", ("compression",)),
    "features=softmax": Trait("softmax features", "each key picks few channels, as a soft address", ("recall",)),
    "key_norm=l2": Trait("unit-length keys", "every write moves the memory by its strength alone", ("overwrite",)),
    "key_norm=l1": Trait("keys of unit sum", "dense keys write softly, sparse keys fully", ("overwrite",)),
    "shared_keys=True": Trait("keys shared by all heads", "parameters move from addressing to content", ("text",)),
    "rotary=True": Trait("rotary positions", "what is read may depend on distance", ("in_context_recall",)),
    "convolution=2": Trait("a convolution of 2", "keys see the token before, which bigrams need", ("fuzzy_recall",)),
    "convolution=3": Trait("a convolution of 3", "keys see the last tokens", ("text", "fuzzy_recall")),
    "convolution=4": Trait("a convolution of 4", "keys see the last tokens", ("text", "fuzzy_recall")),
    "short_fir=3": Trait("a short path of 3 taps", "local patterns need not pass the memory", ("text",)),
    "short_fir=5": Trait("a short path of 5 taps", "local patterns need not pass the memory", ("text",)),
    "short_fir=7": Trait("a short path of 7 taps", "local patterns need not pass the memory", ("text",)),
    "long_fir=15": Trait("a long path of 15 taps", "words and phrases are kept exactly for a while", ("text",)),
    "long_fir=25": Trait("a long path of 25 taps", "words and phrases are kept exactly for a while", ("text",)),
    "long_fir=31": Trait("a long path of 31 taps", "phrases are kept exactly for a while", ("text", "compression")),
    "long_fir=63": Trait("a long path of 63 taps", "phrases are kept exactly for a while", ("text", "compression")),
    "value_path=True": Trait("a direct value path", "the token itself need not be recalled", ("memorisation",)),
    "router=sum": Trait("a plain sum of the paths", "no gate to learn before the paths are", ("compression",)),
    "router=softmax": Trait("a softmax router", "each token shares one unit of attention among the paths", ("text",)),
    "router=sigmoid": Trait("independent sigmoid gates", "one path need not lose what another gains", ("recall",)),
    "router=hierarchical": Trait(
        "a two-stage router", "one path is set apart before the rest share what is left", ("recall", "text")
    ),
    "router_first=memory": Trait("memory against local paths first", "the memory is kept from starving", ("recall",)),
    "router_first=value": Trait("copy against context first", "copying is the coarsest decision", ("memorisation",)),
    "router_depth=mlp": Trait("a router with a hidden layer", "the mix may depend on combinations", ("text",)),
    "statistics=moments": Trait(
        "mean and deviation of each path in the router", "the gate sees what it mixes", ("text",)
    ),
    "statistics=magnitude": Trait(
        "each path's magnitude in the router", "the gate sees which path speaks up", ("recall",)
    ),
    "statistics=energy": Trait(
        "each path's energy in the router", "the gate sees whether the memory answered", ("recall",)
    ),
    "statistics=all": Trait("four statistics of each path in the router", "the gate sees what it mixes", ("text",)),
    "temperature=sharp": Trait("a sharpened router", "near-hard choices separate the paths' roles", ("recall",)),
    "temperature=learnable": Trait("a temperature a head", "each head decides how hard it chooses", ("text",)),
    "floor=fixed": Trait("a fixed floor under every path", "a path that is never used never learns", ("overwrite",)),
    "floor=learnable": Trait("a learned floor under every path", "each head keeps what it needs open", ("overwrite",)),
    "lean=memory": Trait("a router that starts at the memory", "the memory trains first", ("overwrite", "recall")),
    "lean=value": Trait("a router that starts at the values", "the layer starts near the identity", ("text",)),
    "residual=skip": Trait("a skip of the values past the memory", "the token itself need not be recalled", ("text",)),
    "residual=gated": Trait("a gated residual path", "a local signal always has a way through", ("text",)),
    "norm=none": Trait(
        "no norm a head", "how strongly the memory answered reaches the next layer", ("recall",), ("text",)
    ),
    "output_gate=silu": Trait("a SiLU output gate", "what was recalled is let through by channel", ("text",)),
    "output_gate=sigmoid": Trait("a sigmoid output gate", "channels can be shut without changing sign", ("text",)),
    "output_gate=head": Trait("an output gate a head after the norm", "an idle head can be silenced", ("text",)),
    "gate_rank=low": Trait("a low-rank output gate", "the gate's parameters are better spent in the MLP", ("text",)),
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

COSTLY = frozenset({"memory=delta_product", "memory=gated_delta_product", "steps=3", "long_fir=63", "router_depth=mlp"})
"""Choices that cost much compute, state or parameters."""
