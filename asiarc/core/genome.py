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
    "additive", "retention", "ssd", "gla", "delta", "gated_delta", "kda", "delta_product", "gated_delta_product",
    "gated_delta_2", "comba", "momentum_delta", "log_linear", "rwkv7", "mesa", "hgrn2", "mlstm", "trapezoidal",
    "window",
]  # fmt: skip
Statistic = Literal["mean", "std", "abs_mean", "l2"]

GATED = frozenset(
    {"ssd", "gla", "gated_delta", "kda", "gated_delta_product", "gated_delta_2", "comba", "log_linear", "trapezoidal"}
)
"""Memory updates whose decay the token chooses in a form that `decay` names."""
PER_CHANNEL = frozenset({"gla", "kda", "gated_delta_2"})
"""Of these, the memory updates that decay every key channel at its own rate."""
DELTA = frozenset(
    {"delta", "gated_delta", "kda", "delta_product", "gated_delta_product"}
    | {"gated_delta_2", "comba", "momentum_delta", "log_linear"}
)
"""Memory updates that erase what a key of length one holds before they write."""
PRODUCT = frozenset({"delta_product", "gated_delta_product"})
"""Memory updates of several delta steps a token."""
TWOFOLD = frozenset({"ssd", "gla", "gated_delta", "kda"})
"""Memory updates that can be kept twice a head, with a fast and a slow decay."""
OWN_KEYS = PRODUCT | {"comba", "momentum_delta", "rwkv7", "mesa", "hgrn2", "mlstm", "window"}
"""Memory updates of which each head needs keys of its own."""
UNIT_KEYS = DELTA | {"mesa"}
"""Memory updates that diverge, or do not converge, with keys longer than one."""
BOUNDED = DELTA | {"mesa", "hgrn2", "mlstm", "trapezoidal", "window"}
"""Memory updates whose memory, or what is read of it, stays of the size of the values."""

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
    decay: Literal["step", "sigmoid", "rate"] = "step"
    """exp(-a softplus(x w + b)) as in Mamba-2, sigmoid(x w + b)^(1/16) as in GLA, or the first with a chosen by the
    token, a = softplus(x u), as in Mamba-3."""
    time_scales: Literal["one", "heads", "two"] = "one"
    """Decays as they are; from head to head slower, the last 16 times; or two memories a head, one 16 times as slow,
    which is a path of its own."""
    turn: bool = False
    """Queries and keys turn by an angle that the token chooses, as if the state were complex (arXiv 2603.15569)."""
    coupled_input: bool = False
    """Values are scaled by the step that also sets the decay, as in Mamba-2."""
    negative_eigenvalues: bool = False
    """beta in [0, 2], so that a write can reflect (arXiv 2411.12537)."""
    steps: Literal[2, 3] = 2
    """Delta steps a token of the delta product (arXiv 2502.10297)."""
    features: Literal["identity", "silu", "relu", "elu1", "softmax"] = "identity"
    key_norm: Literal["none", "l2", "l1", "rms"] = "none"
    """Of queries and keys; "rms" adds a learnt bias, as in Mamba-3."""
    shared_keys: bool = False
    """One head of queries and keys for all heads of values."""
    rotary: bool = False
    convolution: Literal[0, 2, 3, 4] = 0
    """Taps of the causal depthwise convolution on queries, keys and values; 0 is none."""
    convolved: Literal["all", "keys", "inputs"] = "all"
    """What the convolution is on: queries, keys and values; queries and keys; or what these two are projected from."""
    shift: bool = False
    """Queries, keys and values are projected from the token mixed with the one before, as in RWKV."""
    short_fir: Literal[0, 3, 5, 7] = 0
    long_fir: Literal[0, 15, 25, 31, 63] = 0
    """Taps of a causal depthwise filter on the values, a path of its own; 0 is none."""
    local: Literal["values", "own"] = "values"
    """What the filters of the short and the long path read: the memory's values, or a projection of their own."""
    value_path: bool = False
    window: Literal[0, 16, 64] = 0
    """Tokens that a path of attention sees, with queries and keys of its own; 0 is none. For the memory "window", its
    own tokens."""
    product: Literal["none", "gated", "triple"] = "none"
    """A path of products: c * conv(b * u) of three projections, or of three neighbours' features, u_t v_{t-1} w_{t-2}
    to begin with."""
    router: Literal["none", "sum", "softmax", "sigmoid", "hierarchical"] = "none"
    router_first: Literal["memory", "value"] = "memory"
    """The path that the first stage of the hierarchical router sets apart."""
    router_depth: Literal["linear", "mlp"] = "linear"
    statistics: Literal["none", "moments", "magnitude", "energy", "all"] = "none"
    temperature: Literal["none", "sharp", "learnable"] = "none"
    floor: Literal["none", "fixed", "learnable"] = "none"
    lean: Literal["even", "memory", "value"] = "even"
    """The path that the router prefers at the start."""
    residual: Literal["none", "skip", "gated", "input"] = "none"
    """What is added past the router: the values by a weight a head, a gated short path, or past the norm the layer's
    input by a weight a channel."""
    norm: Literal["rms", "none", "wide"] = "rms"
    """Of what is read: a head at a time, or all heads at once."""
    output_gate: Literal["none", "silu", "sigmoid", "head"] = "none"
    gate_rank: Literal["full", "low", "biased"] = "full"
    """The gate's projection: full, through the channels of a head, or so with a bias."""

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, choices: Any) -> Any:
        return canonical(choices) if isinstance(choices, Mapping) else choices

    def paths(self) -> tuple[str, ...]:
        """The names of the paths that the router mixes, in the order of its weights."""
        names = _paths(vars(self))
        if self.router == "hierarchical":
            names.sort(key=lambda name: name != self.router_first)
        return tuple(names)

    def choices(self) -> dict[str, Any]:
        """The choices that differ from the default, by field."""
        return self.model_dump(exclude_defaults=True)


def _paths(g: Mapping[str, Any]) -> list[str]:
    """What the router mixes."""
    present = {
        "memory": True,
        "short": g["short_fir"],
        "long": g["long_fir"],
        "value": g["value_path"],
        "slow": g["time_scales"] == "two",
        "window": g["window"] and g["memory"] != "window",
        "product": g["product"] != "none",
    }
    return [name for name, there in present.items() if there]


def _routed(g: Mapping[str, Any]) -> bool:
    return g["router"] in ("softmax", "sigmoid", "hierarchical")


def _by_heads(g: Mapping[str, Any]) -> bool:
    """Whether each head has a decay that the token chooses, and one key a token."""
    return g["memory"] in GATED - PER_CHANNEL - PRODUCT


CLASHES = frozenset(
    {("trapezoidal", "sigmoid"), ("window", "l2"), ("window", "l1")}
    | {("hgrn2", "l2"), ("hgrn2", "l1"), ("hgrn2", "rms")}
)
"""Memories and choices that do not go together: the trapezoidal rule weighs what it writes by the step that also sets
the decay, a window is sharp by the length of its keys, and HGRN2's keys are what its gate gives up."""

MEANT: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "decay": lambda g: (
        g["memory"] in GATED and (g["memory"], g["decay"]) not in CLASHES and (g["decay"] != "rate" or _by_heads(g))
    ),
    "time_scales": lambda g: g["memory"] in (TWOFOLD if g["time_scales"] == "two" else GATED),
    "turn": lambda g: _by_heads(g) and g["decay"] != "sigmoid",
    "coupled_input": lambda g: g["memory"] == "ssd" and g["decay"] != "sigmoid",
    "negative_eigenvalues": lambda g: g["memory"] in DELTA and g["memory"] != "momentum_delta",
    "steps": lambda g: g["memory"] in PRODUCT,
    "key_norm": lambda g: g["features"] != "softmax" and (g["memory"], g["key_norm"]) not in CLASHES,
    "shared_keys": lambda g: g["memory"] not in OWN_KEYS,
    "convolved": lambda g: bool(g["convolution"]),
    "local": lambda g: bool(g["short_fir"] or g["long_fir"]),
    "router_first": lambda g: g["router"] == "hierarchical" and g["value_path"],
    "router_depth": _routed,
    "statistics": _routed,
    "temperature": _routed,
    "floor": _routed,
    "lean": lambda g: _routed(g) and (g["lean"] != "value" or g["value_path"]),
    "residual": lambda g: (
        g["residual"] == "input" or not (g["value_path"] and (g["residual"] == "skip" or not g["short_fir"]))
    ),
    "norm": lambda g: g["norm"] != "none" or g["memory"] in BOUNDED,
    "gate_rank": lambda g: g["output_gate"] in ("silu", "sigmoid"),
}
"""When a field has an effect; where it has none its default stands. An unnormalised sum grows without bound,
so only a memory that stays bounded may leave the norm out."""

def _meant(field: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda g: g[field] if MEANT[field](g) else defaults()[field]


def _window(g: Mapping[str, Any]) -> Any:
    return 64 if g["memory"] == "window" and not g["window"] else g["window"]


def _router(g: Mapping[str, Any]) -> Any:
    """None for a single path, a sum where nothing routes several, one stage for two."""
    paths = len(_paths(g))
    if paths == 1:
        return "none"
    return {"none": "sum", "hierarchical": "softmax" if paths == 2 else "hierarchical"}.get(g["router"], g["router"])


def _key_norm(g: Mapping[str, Any]) -> Any:
    """With keys longer than one the delta rule diverges."""
    too_long = g["memory"] in UNIT_KEYS and g["key_norm"] in ("none", "rms") and g["features"] != "softmax"
    return "l2" if too_long else g["key_norm"]


SETTLED: tuple[tuple[str, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("window", _window),
    ("time_scales", _meant("time_scales")),
    ("router", _router),
    *((field, _meant(field)) for field in MEANT),
    ("key_norm", _key_norm),
)
"""Each field's canonical value beside the others, in the order in which they are set; a genome is canonical where none
changes it."""


def canonical(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Complete choices, every ineffective one reset; what is unknown is left for pydantic to refuse."""
    g = defaults() | dict(choices)
    for field, settle in SETTLED:
        g[field] = settle(g)
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


@cache
def earlier_domain() -> dict[str, tuple[Any, ...]]:
    """The choices that there were before those of `LATER`: what populations of that time were drawn from."""
    kept = {
        name: tuple(value for value in values if f"{name}={value}" not in LATER) for name, values in domain().items()
    }
    return {name: values for name, values in kept.items() if len(values) > 1}


def random_genome(rng: random.Random, choices: Mapping[str, tuple[Any, ...]] | None = None) -> Genome:
    """Every field drawn uniformly from its choices, all that there are unless some are given, then made canonical."""
    return Genome(**{field: rng.choice(options) for field, options in (choices or domain()).items()})


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
    "memory=gated_delta_2": Trait(
        "the delta rule with gates of their own for erasing and writing",
        "what is taken away need not be tied to what is put there",
        ("text", "overwrite", "reset"),
    ),
    "memory=comba": Trait(
        "the delta rule in closed loop",
        "feedback weaker than the write wipes no key clean, and queries are held off the newest key",
        ("text", "recall"),
    ),
    "memory=momentum_delta": Trait(
        "the delta rule with momentum",
        "a correction goes on to be written while later tokens are read",
        ("text", "recall"),
        ("reset",),
    ),
    "memory=log_linear": Trait(
        "a memory for every stretch of the past, doubling in length",
        "the near past is held finely and the far past coarsely",
        ("recall", "in_context_recall"),
    ),
    "memory=rwkv7": Trait(
        "a delta rule that erases under another key than it writes",
        "the memory can swap what it holds",
        ("s3", "text", "reset"),
    ),
    "memory=mesa": Trait(
        "a least-squares memory", "every token reads the best fit to all that was shown", ("recall", "overwrite")
    ),
    "memory=hgrn2": Trait(
        "keys that are what the forget gate gives up",
        "the memory is an average that never overflows",
        ("text", "reset"),
        ("overwrite",),
    ),
    "memory=mlstm": Trait(
        "exponential input gates with a normaliser",
        "one token may outweigh all before it",
        ("selective_copying", "text"),
        ("overwrite",),
    ),
    "memory=trapezoidal": Trait(
        "a token that enters the state twice, as it comes and one later",
        "the two-point rule does what a short convolution did",
        ("text", "fuzzy_recall"),
        ("overwrite",),
    ),
    "memory=window": Trait(
        "attention over the last tokens", "what it sees it sees exactly", ("in_context_recall",), ("recall", "reset")
    ),
    "decay=step": Trait("Mamba-2's step as the decay", "rates start spread over the heads", ("text",)),
    "decay=sigmoid": Trait("a sigmoid decay of temperature 16", "a fresh model starts out remembering", ("recall",)),
    "decay=rate": Trait("a rate of decay that the token chooses", "some tokens end what others begin", ("reset",)),
    "time_scales=heads": Trait(
        "heads from fast to slow", "a head that is slow from the start keeps what fast ones lose", ("text", "recall")
    ),
    "time_scales=two": Trait(
        "a slow memory beside the fast one", "what just came and what lasts need not share a matrix", ("text", "recall")
    ),
    "turn=True": Trait("a state that the token turns", "a rotation counts without forgetting", ("parity", "s3")),
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
    "key_norm=rms": Trait("normed keys with a bias", "a constant part of every key holds what all share", ("text",)),
    "shared_keys=True": Trait("keys shared by all heads", "parameters move from addressing to content", ("text",)),
    "rotary=True": Trait("rotary positions", "what is read may depend on distance", ("in_context_recall",)),
    "convolution=2": Trait("a convolution of 2", "keys see the token before, which bigrams need", ("fuzzy_recall",)),
    "convolution=3": Trait("a convolution of 3", "keys see the last tokens", ("text", "fuzzy_recall")),
    "convolution=4": Trait("a convolution of 4", "keys see the last tokens", ("text", "fuzzy_recall")),
    "convolved=keys": Trait("a convolution on queries and keys alone", "values are stored as they come", ("recall",)),
    "convolved=inputs": Trait(
        "a convolution before queries and keys", "one filter a channel serves both projections", ("fuzzy_recall",)
    ),
    "shift=True": Trait("inputs mixed with the token before", "a pair of tokens is one key", ("fuzzy_recall", "text")),
    "short_fir=3": Trait("a short path of 3 taps", "local patterns need not pass the memory", ("text",)),
    "short_fir=5": Trait("a short path of 5 taps", "local patterns need not pass the memory", ("text",)),
    "short_fir=7": Trait("a short path of 7 taps", "local patterns need not pass the memory", ("text",)),
    "long_fir=15": Trait("a long path of 15 taps", "words and phrases are kept exactly for a while", ("text",)),
    "long_fir=25": Trait("a long path of 25 taps", "words and phrases are kept exactly for a while", ("text",)),
    "long_fir=31": Trait("a long path of 31 taps", "phrases are kept exactly for a while", ("text", "compression")),
    "long_fir=63": Trait("a long path of 63 taps", "phrases are kept exactly for a while", ("text", "compression")),
    "value_path=True": Trait("a direct value path", "the token itself need not be recalled", ("memorisation",)),
    "local=own": Trait(
        "local paths with a projection of their own", "what is local need not be what is stored", ("text",)
    ),
    "window=16": Trait(
        "attention over 16 tokens", "the nearest tokens are told apart exactly", ("text",)
    ),
    "window=64": Trait(
        "attention over 64 tokens",
        "the memory is left with what the window does not see",
        ("text", "in_context_recall"),
    ),
    "product=gated": Trait(
        "a path of gated short convolutions", "a product asks for two things at once", ("text", "fuzzy_recall")
    ),
    "product=triple": Trait(
        "a path of products of three neighbours", "which three tokens stood together is one feature", ("text",)
    ),
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
    "residual=input": Trait(
        "a skip of the input past the norm", "the token itself is neither recalled nor normed", ("text",)
    ),
    "norm=wide": Trait("one norm for all heads", "a head that recalls nothing stays quiet", ("recall",)),
    "norm=none": Trait(
        "no norm a head", "how strongly the memory answered reaches the next layer", ("recall",), ("text",)
    ),
    "output_gate=silu": Trait("a SiLU output gate", "what was recalled is let through by channel", ("text",)),
    "output_gate=sigmoid": Trait("a sigmoid output gate", "channels can be shut without changing sign", ("text",)),
    "output_gate=head": Trait("an output gate a head after the norm", "an idle head can be silenced", ("text",)),
    "gate_rank=low": Trait("a low-rank output gate", "the gate's parameters are better spent in the MLP", ("text",)),
    "gate_rank=biased": Trait("a low-rank output gate with a bias", "a gate may start open or shut", ("text",)),
}

LATER = frozenset(
    {f"memory={rule}" for rule in ("gated_delta_2", "comba", "momentum_delta", "log_linear", "rwkv7", "mesa")}
    | {f"memory={rule}" for rule in ("hgrn2", "mlstm", "trapezoidal", "window")}
    | {"decay=rate", "time_scales=heads", "time_scales=two", "turn=True", "key_norm=rms", "convolved=keys"}
    | {"convolved=inputs", "shift=True", "local=own", "window=16", "window=64", "product=gated", "product=triple"}
    | {"residual=input", "norm=wide", "gate_rank=biased"}
)
"""The choices that came with the panel of 2026-11."""

THINGS: Mapping[str, str] = {
    "convolution": "short convolution",
    "key_norm": "key norm",
    "short_fir": "short path",
    "long_fir": "long path",
    "value_path": "value path",
    "window": "window",
    "product": "path of products",
    "turn": "turning of the state",
    "shift": "token shift",
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
    "time_scales=one": "one time scale",
    "convolved=all": "a convolution on queries, keys and values",
    "local=values": "local paths on the values",
    "router_depth=linear": "a linear router",
    "lean=even": "a router that starts even",
    "norm=rms": "an RMSNorm a head",
    "gate_rank=full": "a full-rank output gate",
}

_PATHS: Mapping[str, Any] = {"short_fir": 3, "value_path": True}
_ROUTER: Mapping[str, Any] = {**_PATHS, "router": "softmax"}
NEEDS: Mapping[str, Mapping[str, Any]] = {
    "decay": {"memory": "gated_delta"},
    "time_scales": {"memory": "gated_delta"},
    "turn": {"memory": "ssd", "decay": "step"},
    "coupled_input": {"memory": "ssd", "decay": "step"},
    "negative_eigenvalues": {"memory": "delta"},
    "steps": {"memory": "delta_product"},
    "key_norm": {"features": "silu"},
    "shared_keys": {"memory": "gated_delta"},
    "convolved": {"convolution": 4},
    "local": {"short_fir": 3},
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
    | {"memory=momentum_delta", "memory=log_linear", "memory=rwkv7", "memory=mesa", "memory=gated_delta_2"}
    | {"time_scales=two", "window=16", "window=64", "memory=window", "product=gated", "product=triple"}
)
"""Choices that cost much compute, state or parameters."""
