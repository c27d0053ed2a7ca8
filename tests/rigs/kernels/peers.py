"""The same operators as other people wrote them, in torch, brought to the signature of ours.

They are oracles for the tests and the rows that a table of speeds is compared with: the torch fallbacks of
`transformers`, the naive functions of `flash-linear-attention`, and what torch itself offers for filters and norms. The
first two are imported on first use and only the second needs an extra. Each adapter takes (q, k, v[, g][, beta]), or
the tensors of a filter or norm, in the order of ours, with the default scale and no initial state, and returns o
[B, T, H, V] (y); `transformers` and `flash-linear-attention` compute in float32.

Unusual: `transformers` reroutes a decorated function to another package where one is installed, so the undecorated body
is taken and its absence is an error; `require_torch` watches which code runs.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Peer = Callable[..., Tensor]
MODELS = ("qwen3_next", "kimi_linear", "mamba2")
FASTER = ("fla", "kernels", "causal_conv1d", "mamba_ssm", "triton")
"""Packages that `transformers` would rather call."""


def torch_body(model: str, function: str) -> Callable[..., Any]:
    """The torch implementation under the decorator that may reroute a call."""
    module = importlib.import_module(f"transformers.models.{model}.modeling_{model}")
    body: Callable[..., Any] = inspect.unwrap(getattr(module, function))
    assert body.__code__.co_filename == module.__file__, f"{function} is not the torch body of {model}"
    return body


def require_torch(work: Callable[[], object]) -> None:
    """Do `work`; an assertion fails unless code of a model of `transformers` ran and none of a package of `FASTER`."""
    for model in MODELS:  # importing runs code of everything that is installed
        importlib.import_module(f"transformers.models.{model}.modeling_{model}")
    entered: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            entered.add(frame.f_globals.get("__name__", ""))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    rerouted = sorted(name for name in entered if name.partition(".")[0] in FASTER)
    assert not rerouted, f"a call to transformers went to {', '.join(rerouted[:9])}"
    assert any(name.startswith("transformers.models.") for name in entered), "no code of transformers ran"


def has_fla() -> bool:
    """Whether flash-linear-attention is installed; does not import it."""
    return importlib.util.find_spec("fla") is not None


@functools.cache
def naive(module: str, function: str) -> Callable[..., Any]:
    """A naive function of flash-linear-attention, of its file alone: to import the package takes seconds."""
    package = importlib.util.find_spec("fla")
    assert package is not None and package.origin is not None, "flash-linear-attention is not installed"
    file = Path(package.origin).parent.joinpath("ops", *module.split("."), "naive.py")
    found: Callable[..., Any] = runpy.run_path(str(file), run_name=f"fla.ops.{module}.naive")[function]
    return found


class InFloat64(TorchFunctionMode):
    """What asks for float32 gets float64: the naive functions of flash-linear-attention compute in the one alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function, with float64 for every float32 it is given by name or by argument."""
        wide = {torch.float32: torch.float64}
        named = {name: wide.get(x, x) if isinstance(x, torch.dtype) else x for name, x in (kwargs or {}).items()}
        given = [wide.get(x, x) if isinstance(x, torch.dtype) else x for x in args]
        return (Tensor.double if func is Tensor.float else func)(*given, **named)


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


def transformers_short_convolution(x_BTD: Tensor, weight_DW: Tensor, bias: Tensor) -> Tensor:
    """`causal_conv1d_fn` of Qwen3-Next, channels first."""
    return torch_body("qwen3_next", "causal_conv1d_fn")(x_BTD.mT, weight_DW, bias=bias).mT


def transformers_l2_norm(x: Tensor) -> Tensor:
    """`l2norm` of Qwen3-Next."""
    return torch_body("qwen3_next", "l2norm")(x)


def transformers_gated_rms_norm(x: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    """`Qwen3NextRMSNormGated`, with the weight that is given."""
    module = importlib.import_module("transformers.models.qwen3_next.modeling_qwen3_next")
    norm = module.Qwen3NextRMSNormGated(x.shape[-1])
    return torch.func.functional_call(norm, {"weight": weight}, (x, gate))


def convolution(x_BTD: Tensor, weight_DW: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.conv1d` with a group a channel, zeros before the first token."""
    padded = F.pad(x_BTD.mT, (weight_DW.shape[1] - 1, 0))
    return F.conv1d(padded, weight_DW[:, None], bias, groups=x_BTD.shape[2]).mT


def unit(x: Tensor) -> Tensor:
    """`torch.nn.functional.normalize`, which bounds the length from below where ours adds under the root."""
    return F.normalize(x, dim=-1)


def gated_norm(x: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    """`torch.nn.functional.rms_norm` times the gate."""
    return F.rms_norm(x, x.shape[-1:], weight, 1e-6) * F.silu(gate)


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


def fla_gated_delta_rule_2(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, erase: Tensor, write: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """`naive_recurrent_gdn2`."""
    found: tuple[Tensor, Tensor] = naive("gdn2", "naive_recurrent_gdn2")(
        q, k, v, g, erase, write, initial_state=state, output_final_state=True
    )
    return found


def fla_rwkv7(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, removal: Tensor, rate: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """`dplr_recurrence`, heads first, with the two keys of RWKV-7."""
    first = [heads_first(x) for x in (q, k, v, -removal, rate * removal, g)]
    o, final = naive("generalized_delta_rule.dplr", "dplr_recurrence")(*first, initial_state=state)
    return heads_first(o), final


def fla_comba(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, feedback: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """`naive_recurrent_comba`; `feedback` is a number a head."""
    found: tuple[Tensor, Tensor] = naive("comba", "naive_recurrent_comba")(
        q, k, v, feedback[:, None] * k, beta, g, initial_state=state, output_final_state=True
    )
    return found


def fla_gated_delta_product(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """`naive_recurrent_gated_delta_product`, gated."""
    found: tuple[Tensor, Tensor] = naive("gated_delta_product", "naive_recurrent_gated_delta_product")(
        q, k, v, g, beta, q.shape[-1] ** -0.5,
        initial_state=state, output_final_state=True, num_householder=k.shape[1] // q.shape[1],
    )  # fmt: skip
    return found


def fla_momentum_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, m: Tensor, eta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """`recurrent_momentum_delta_rule_ref`: its momentum has the other sign, and it reads the state before the decay."""
    S, N = state.chunk(2, dim=2)
    o, (S, M) = naive("momentum_delta_rule", "recurrent_momentum_delta_rule_ref")(
        q, k, v, g, m, g.exp()[..., None] * k, beta, eta, initial_S=S, initial_M=-N, output_final_state=True
    )
    return o, torch.cat((S, -M), dim=2)


def first_output(module: str, function: str, *inputs: Tensor) -> Tensor:
    """A naive function whose arguments and layout are ours."""
    return naive(module, function)(*inputs)[0]


TRANSFORMERS: dict[str, Peer] = {
    "gated_delta_rule": transformers_gated_delta_rule,
    "kda": transformers_kda,
    "simple_gla": transformers_simple_gla,
    "short_convolution": transformers_short_convolution,
    "l2_norm": transformers_l2_norm,
    "gated_rms_norm": transformers_gated_rms_norm,
}
PLAIN: dict[str, Peer] = {
    "short_convolution": convolution,
    "fir": convolution,
    "l2_norm": unit,
    "gated_rms_norm": gated_norm,
}
"""What torch offers by itself."""
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
APART: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "gated_delta_net_2": fla_gated_delta_rule_2,
    "rwkv7": fla_rwkv7,
    "comba": fla_comba,
    "gated_delta_product": fla_gated_delta_product,
    "momentum_delta_net": fla_momentum_delta_rule,
}
"""The recurrences of mixers of the panel, (o, final state) from a state, by the mixer's name."""
