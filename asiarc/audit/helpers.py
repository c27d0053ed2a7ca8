"""CPU equivalents of the flash-linear-attention helpers that the released programs import.

Written from their documented behaviour in plain torch: norms, the short convolution with its cache and packed
sequences, L2 norm, unpadding and padding, the layer cache, the operators over `asiarc.kernels`. `installed` puts them
into `sys.modules` under their FLA names, with `torch.compile` as the identity. A name that has no equivalent here
imports, and raises `MissingHelperError` when it is used: an unused import is nobody's fault.

B batch, T tokens, D channels, W taps, S tokens of all sequences end to end.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asiarc.kernels.delta_rule import delta_rule
from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.gla import gla
from asiarc.kernels.kda import kda
from asiarc.kernels.linear_attention import linear_attention
from asiarc.kernels.retention import retention
from asiarc.kernels.simple_gla import simple_gla


class MissingHelperError(Exception):
    """A part of flash-linear-attention that has no CPU equivalent here was used."""


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class _Norm(nn.Module):
    """x (minus its mean, unless RMS) / its size * weight + bias over the last axis, in float32 or wider."""

    rms = True

    def __init__(
        self, hidden_size: int, elementwise_affine: bool = True, bias: bool = False, eps: float = 1e-5, **kwargs: Any
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size)) if elementwise_affine else None
        self.bias = nn.Parameter(torch.zeros(hidden_size)) if bias else None

    def _normed(self, x: Tensor) -> Tensor:
        wide, shape = _wide(x), x.shape[-1:]
        y = F.rms_norm(wide, shape, eps=self.eps) if self.rms else F.layer_norm(wide, shape, eps=self.eps)
        y = y if self.weight is None else y * _wide(self.weight)
        return y if self.bias is None else y + _wide(self.bias)

    def forward(self, x: Tensor, residual: Tensor | None = None, prenorm: bool = False, **kwargs: Any) -> Any:
        """The norm of x [..., D] (of x + residual where there is one), in its dtype; with `prenorm` also that sum."""
        x = x if residual is None else x + residual
        y = self._normed(x).to(x.dtype)
        return (y, x) if prenorm else y


class RMSNorm(_Norm):
    """x / rms(x) * weight + bias."""


class LayerNorm(_Norm):
    """(x - mean(x)) / std(x) * weight + bias."""

    rms = False


class FusedRMSNormGated(_Norm):
    """RMS norm times the SiLU (or sigmoid) of a gate."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        activation: str = "swish",
        bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, bias, eps)
        self.activation = activation

    def forward(  # type: ignore[override]
        self, x: Tensor, g: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """The norm of x [..., D] times the gate g [..., D], in the dtype of x; without a gate the norm alone."""
        y, gate = self._normed(x), kwargs.get("gate", g)
        if gate is not None:
            y = y * (torch.sigmoid(_wide(gate)) if self.activation == "sigmoid" else F.silu(_wide(gate)))
        return y.to(x.dtype)


class FusedLayerNormGated(FusedRMSNormGated):
    """Layer norm times the SiLU (or sigmoid) of a gate."""

    rms = False


class L2Norm(nn.Module):
    """`l2_norm` as a module."""

    def __init__(self, eps: float = 1e-6, **kwargs: Any) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] scaled to unit length over its last axis."""
        return l2_norm(x, self.eps)


class ShortConvolution(nn.Conv1d):
    """Causal depthwise convolution; its cache holds the last W inputs, [B, D, W]."""

    def __init__(
        self, hidden_size: int, kernel_size: int, bias: bool = False, activation: str | None = "silu", **kwargs: Any
    ) -> None:
        super().__init__(hidden_size, hidden_size, kernel_size, groups=hidden_size, bias=bias, padding=kernel_size - 1)
        self.activation = activation

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Inputs [B, T, D], or [1, S, D] with `cu_seqlens`; (outputs, cache or None).

        Releases differ in whether `mask` [B, T] or `residual` [B, T, D] comes second.
        """
        if residual is not None and residual.ndim == 2:
            residual, mask = None, residual
        x = x if mask is None else x * mask[..., None].to(x.dtype)
        if cu_seqlens is None:
            y, new_cache = self._one(x, cache)
        else:
            bounds = cu_seqlens.tolist()
            parts = [
                self._one(x[:, start:stop], None if cache is None else cache[i : i + 1])
                for i, (start, stop) in enumerate(itertools.pairwise(bounds))
            ]
            y, new_cache = (torch.cat(part, dim) for part, dim in zip(zip(*parts, strict=True), (1, 0), strict=True))
        y = y if residual is None else y + residual
        return y, new_cache if output_final_state else None

    def _one(self, x_BTD: Tensor, cache_BDW: Tensor | None) -> tuple[Tensor, Tensor]:
        width = self.kernel_size[0]
        inputs_BDT = x_BTD.transpose(1, 2)
        past_BDW = cache_BDW if cache_BDW is not None else inputs_BDT.new_zeros(*inputs_BDT.shape[:2], width)
        inputs_BDT = torch.cat((past_BDW.to(inputs_BDT.dtype), inputs_BDT), 2)
        y_BDT = F.conv1d(inputs_BDT[..., 1:], self.weight, self.bias, groups=self.groups)
        y_BTD = y_BDT.transpose(1, 2)
        return F.silu(y_BTD) if self.activation in ("silu", "swish") else y_BTD, inputs_BDT[..., -width:]


class Cache:
    """States by layer, as FLA's models pass them from call to call."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.seen = 0

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, layer: int) -> dict[str, Any]:
        return self.states[layer]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.states)

    def update(
        self,
        recurrent_state: Any = None,
        attn_state: tuple[Tensor, ...] | None = None,
        conv_state: Any = None,
        ffn_state: Any = None,
        layer_idx: int = 0,
        offset: int = 1,
        cache_kwargs: dict[str, Any] | None = None,
        **others: Any,
    ) -> dict[str, Any]:
        """Replaces what the layer stored, but appends `attn_state` along its tokens; `offset` counts tokens."""
        while len(self.states) <= layer_idx:
            self.states.append(dict.fromkeys(("recurrent_state", "attn_state", "conv_state", "ffn_state")))
        stored = self.states[layer_idx]
        new = {"recurrent_state": recurrent_state, "conv_state": conv_state, "ffn_state": ffn_state, **others}
        if attn_state is not None:
            past, size = stored["attn_state"], (cache_kwargs or {}).get("window_size")
            kept = attn_state if past is None else tuple(torch.cat(p, 1) for p in zip(past, attn_state, strict=True))
            new["attn_state"] = kept if size is None else tuple(tensor[:, -size:] for tensor in kept)
        stored.update({name: state for name, state in new.items() if state is not None})
        self.seen += offset if layer_idx == 0 else 0
        return stored

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        """Tokens that the first layer has been given, over all calls; the same for every layer."""
        return self.seen

    seen_tokens = _seen_tokens = property(get_seq_length)

    def get_max_length(self) -> int | None:
        """Unbounded."""
        return None


def l2_norm(x: Tensor, eps: float = 1e-6, **kwargs: Any) -> Tensor:
    """x / sqrt(sum x^2 + eps) over the last axis."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def get_unpad_data(attention_mask: Tensor) -> tuple[Tensor, Tensor, int]:
    """Of a mask [B, T]: (positions [S] of its ones when flattened, boundaries [B + 1] of the rows without padding,
    longest row)."""
    lengths = attention_mask.sum(-1, dtype=torch.int32)
    positions = attention_mask.flatten().nonzero().flatten()
    return positions, F.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0)), int(lengths.max())


def index_first_axis(x: Tensor, indices: Tensor) -> Tensor:
    """Rows `indices` [N] of x [S, ...]: [N, ...]."""
    return x[indices]


def pad_input(x_SD: Tensor, indices: Tensor, batch: int, length: int) -> Tensor:
    """[S, …] back to [B, T, …], zeros where the mask was zero."""
    padded = x_SD.new_zeros(batch * length, *x_SD.shape[1:])
    return padded.index_copy(0, indices, x_SD).unflatten(0, (batch, length))


def _operator(kernel: Callable[..., tuple[Tensor, Tensor]], *gates: str) -> Callable[..., Any]:
    """A kernel behind FLA's signature: (q, k, v, *gates, scale, initial_state, output_final_state, …)."""
    order = ("q", "k", "v", *gates, "scale", "initial_state", "output_final_state")

    def call(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        given = {**dict(zip(order, args, strict=False)), **kwargs}
        if "gk" in given:  # the recurrent form of GLA calls its gate so
            given["g"] = given.pop("gk")
        inputs = [given[name] for name in ("q", "k", "v", *gates)]
        if given.get("head_first"):
            inputs = [tensor.transpose(1, 2) for tensor in inputs]
        if given.get("use_qk_l2norm_in_kernel"):
            inputs[:2] = l2_norm(inputs[0]), l2_norm(inputs[1])
        options = {name: given[name] for name in ("scale", "initial_state", "cu_seqlens") if name in given}
        o, state = kernel(*inputs, **options)
        if given.get("normalize", kernel is linear_attention):
            q, k = inputs[:2]
            o = o / ((q * k.cumsum(1)).sum(-1, keepdim=True) * (given.get("scale") or q.shape[-1] ** -0.5) + 1e-10)
        o = o.transpose(1, 2) if given.get("head_first") else o
        return o, state if given.get("output_final_state") else None

    return call


def _uncompiled(model: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The identity, as a decorator with arguments or without."""
    return model if callable(model) else lambda function: function


def _forms(name: str, kernel: Callable[..., Any], *gates: str) -> dict[str, Callable[..., Any]]:
    operator = _operator(kernel, *gates)
    return {f"{form}_{name}": operator for form in ("chunk", "fused_chunk", "fused_recurrent", "parallel")}


_NORMS = {
    "RMSNorm": RMSNorm,
    "LayerNorm": LayerNorm,
    "FusedRMSNormGated": FusedRMSNormGated,
    "FusedRMSNormSwishGate": FusedRMSNormGated,
    "FusedLayerNormGated": FusedLayerNormGated,
    "FusedLayerNormSwishGate": FusedLayerNormGated,
}
_UNPAD = {"get_unpad_data": get_unpad_data, "index_first_axis": index_first_axis, "pad_input": pad_input}
_L2 = {"l2norm": l2_norm, "l2_norm": l2_norm, "l2norm_fwd": l2_norm, "L2Norm": L2Norm}
_ACTIVATIONS: dict[str, Any] = {
    "swish": F.silu, "silu": F.silu, "sigmoid": torch.sigmoid, "logsigmoid": F.logsigmoid,
    "swiglu": lambda x, y: F.silu(x) * y, "sqrelu": lambda x: F.relu(x).square(),
}  # fmt: skip
_ACTIVATIONS["ACT2FN"] = {**_ACTIVATIONS, "relu": F.relu, "gelu": F.gelu, "identity": lambda x: x}
_OPERATORS = {
    "delta_rule": _forms("delta_rule", delta_rule, "beta"),
    "gated_delta_rule": _forms("gated_delta_rule", gated_delta_rule, "g", "beta"),
    "gla": _forms("gla", gla, "g"),
    "kda": _forms("kda", kda, "g", "beta"),
    "linear_attn": _forms("linear_attn", linear_attention),
    "retention": _forms("retention", retention),
    "simple_gla": _forms("simple_gla", simple_gla, "g"),
}
_GUARDS = dict.fromkeys(
    ("input_guard", "contiguous", "autocast_custom_fwd", "autocast_custom_bwd", "tensor_cache"), _uncompiled
)
_CONVOLUTION = {"ShortConvolution": ShortConvolution}
_CONTENTS: dict[str, dict[str, Any]] = {
    "fla.layers.utils": _UNPAD,
    "fla.models.utils": {"Cache": Cache},
    "fla.models.cache_utils": {"Cache": Cache},
    "fla.modules": {**_NORMS, **_CONVOLUTION, "L2Norm": L2Norm, "l2_norm": l2_norm},
    "fla.modules.activations": _ACTIVATIONS,
    "fla.modules.convolution": _CONVOLUTION,
    "fla.modules.fused_norm_gate": _NORMS,
    "fla.modules.l2norm": _L2,
    "fla.modules.layernorm": _NORMS,
    "fla.modules.layernorm_gated": _NORMS,
    "fla.ops": {name: call for calls in _OPERATORS.values() for name, call in calls.items()},
    **{f"fla.ops.{name}": calls for name, calls in _OPERATORS.items()},
    "fla.utils": {**_GUARDS, "device": "cpu", "device_platform": "cpu"},
}


class _StandIn(ModuleType):
    """A module of FLA's: what it has here, and a class that raises when used for everything else.

    Called, it is the function of its own name: `from fla.modules import l2norm` means either.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self.__name__}.{name}"
        if path in _CONTENTS:
            return importlib.import_module(path)

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise MissingHelperError(f"{path} has no CPU equivalent here")

        return type(name, (nn.Module,), {"__init__": refuse})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module below `fla`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".")[0] != "fla":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(_CONTENTS.get(module.__name__, {}))


@contextmanager
def installed() -> Iterator[None]:
    """The helpers under their FLA names, torch's compilers and all warnings out of the way, until the block ends."""
    real = _take_away()
    compilers = [(torch, "compile"), (torch.jit, "script"), (torch.compiler, "disable"), (torch.compiler, "compile")]
    before = [getattr(holder, name) for holder, name in compilers]
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    for holder, name in compilers:
        setattr(holder, name, _uncompiled)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for (holder, name), function in zip(compilers, before, strict=True):
            setattr(holder, name, function)
        sys.meta_path.remove(finder)
        _take_away()
        sys.modules.update(real)


def _take_away() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.split(".")[0] == "fla"]
    return {name: sys.modules.pop(name) for name in names}
