"""The same operators as other people wrote them, in torch, brought to the signature of ours.

They are oracles for the tests and the rows that a table of speeds is compared with: the torch fallbacks of
`transformers` and the naive functions of `flash-linear-attention`. Both are imported on first use and only the second
needs an extra. Each adapter takes (q, k, v[, g][, beta]) as ours does, with the default scale and no initial state,
and returns o [B, T, H, V]; they compute in float32.

Unusual: `transformers` reroutes a decorated function to another package where one is installed, so the undecorated body
is taken and its absence is an error.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

Peer = Callable[..., Tensor]


def torch_body(model: str, function: str) -> Callable[..., Any]:
    """The torch implementation under the decorator that may reroute a call."""
    module = importlib.import_module(f"transformers.models.{model}.modeling_{model}")
    body: Callable[..., Any] = getattr(module, function).__wrapped__
    assert body.__module__ == module.__name__, f"{function} is not the torch body of {model}"
    return body


def naive(module: str, function: str) -> Callable[..., Any]:
    """A naive function of flash-linear-attention."""
    found: Callable[..., Any] = getattr(importlib.import_module(f"fla.ops.{module}.naive"), function)
    return found


def heads_first(x: Tensor) -> Tensor:
    """[B, T, H, ...] <-> [B, H, T, ...]."""
    return x.transpose(1, 2)


def transformers_gated_delta_rule(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
    """`torch_chunk_gated_delta_rule` of Qwen3-Next."""
    return torch_body("qwen3_next", "torch_chunk_gated_delta_rule")(q, k, v, g, beta)[0]


def transformers_kda(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
    """`chunk_kimi_delta_attention` of Kimi-Linear."""
    return torch_body("kimi_linear", "chunk_kimi_delta_attention")(q, k, v, g, beta)[0]


def transformers_simple_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """`mamba2_chunk_scan`: with A = -1 and dt = -g the decay is e^g; its input is v / dt, which needs g < 0."""
    dt, A = -g, -torch.ones_like(g[0, 0])
    return torch_body("mamba2", "mamba2_chunk_scan")(
        v / dt[..., None], dt, A, k, q * q.shape[-1] ** -0.5, chunk_size=64
    )


def fla_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """`delta_rule_chunkwise`, heads first, T a multiple of 32."""
    found = naive("delta_rule", "delta_rule_chunkwise")(*(heads_first(x) for x in (q, k, v, beta)))
    return heads_first(found[0])


def fla_retention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`naive_retention`, heads first, one T x T matrix a head."""
    o = naive("retention", "naive_retention")(*(heads_first(x) for x in (q, k, v)))
    return heads_first(o)


def fla_linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`naive_chunk_linear_attn`, T a multiple of 64."""
    o = naive("linear_attn", "naive_chunk_linear_attn")(q, k, v)
    return o if isinstance(o, Tensor) else o[0]


def fla_delta_product(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """`naive_recurrent_gated_delta_product`, ungated."""
    steps, scale = k.shape[1] // q.shape[1], q.shape[-1] ** -0.5
    return naive("gated_delta_product", "naive_recurrent_gated_delta_product")(
        q, k, v, None, beta, scale, num_householder=steps
    )[0]


def first_output(module: str, function: str, *inputs: Tensor) -> Tensor:
    """A naive function whose arguments and layout are ours."""
    return naive(module, function)(*inputs)[0]


TRANSFORMERS: dict[str, Peer] = {
    "gated_delta_rule": transformers_gated_delta_rule,
    "kda": transformers_kda,
    "simple_gla": transformers_simple_gla,
}
FLA: dict[str, Peer] = {
    "linear_attention": fla_linear_attention,
    "retention": fla_retention,
    "simple_gla": partial(first_output, "simple_gla", "naive_chunk_simple_gla"),
    "gla": partial(first_output, "gla", "naive_recurrent_gla"),
    "delta_rule": fla_delta_rule,
    "gated_delta_rule": partial(first_output, "gated_delta_rule", "naive_chunk_gated_delta_rule"),
    "kda": partial(first_output, "kda", "naive_chunk_kda"),
    "delta_product": fla_delta_product,
}
