"""The typed mechanisms that a candidate is composed of, and the genome that holds one choice of each.

A genome is flat, frozen and canonical: a choice that has no effect beside the others (a router without paths,
a step form without a gate) is set to its default when the genome is made, so that equal mixers have equal
genomes and render equal sources.

Unusual: an entropy term for routers is missing on purpose. A mixer has no way to add to the loss, so such a
term would be inert, as it is in every released program of the paper (arXiv 2507.18074).
"""

from __future__ import annotations

import random
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

Rule = Literal[
    "additive",
    "retention",
    "ssd",
    "gla",
    "delta",
    "gated_delta",
    "kda",
    "delta_product",
    "gated_delta_product",
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
    values = {
        name: (False, True) if hints[name] is bool else typing.get_args(hints[name]) for name in defaults()
    }
    return {
        name: tuple(sorted(options, key=lambda v: v != defaults()[name])) for name, options in values.items()
    }


def random_genome(rng: random.Random) -> Genome:
    """Every field drawn uniformly, then made canonical."""
    return Genome(**{field: rng.choice(options) for field, options in domain().items()})
