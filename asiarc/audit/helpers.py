"""CPU equivalents of the flash-linear-attention helpers that the released programs import.

Written from their documented behaviour in plain torch: RMS norms, the short convolution with its cache and packed
sequences, L2 norm, unpadding and padding, the layer cache, the delta rule operators. `installed` puts them into
`sys.modules` under their FLA names, with `torch.compile` as the identity.

B batch, T tokens, D channels, W taps, S tokens of all sequences end to end.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asiarc.kernels.delta_rule import delta_rule


class RMSNorm(nn.Module):
    """x / rms(x) * weight + bias over the last axis; with a gate, times its SiLU."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        eps: float = 1e-5,
        activation: str = "swish",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.eps, self.activation = eps, activation
        self.weight = nn.Parameter(torch.ones(hidden_size)) if elementwise_affine else None
        self.bias = nn.Parameter(torch.zeros(hidden_size)) if bias else None

    def forward(self, x: Tensor, gate: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Computed in float32, returned in the dtype of x."""
        y = F.rms_norm(x.float(), x.shape[-1:], eps=self.eps)
        y = y if self.weight is None else y * self.weight.float()
        y = y if self.bias is None else y + self.bias.float()
        if gate is not None:
            y = y * (torch.sigmoid(gate.float()) if self.activation == "sigmoid" else F.silu(gate.float()))
        return y.to(x.dtype)


class ShortConvolution(nn.Conv1d):
    """Causal depthwise convolution; its cache holds the last W inputs, [B, D, W]."""

    def __init__(
        self,
        hidden_size: int,
        kernel_size: int,
        bias: bool = False,
        activation: str | None = "silu",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            hidden_size, hidden_size, kernel_size, groups=hidden_size, bias=bias, padding=kernel_size - 1
        )
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
        """Inputs [B, T, D], or [1, S, D] with `cu_seqlens`; (outputs, cache or None)."""
        x = x if mask is None else x * mask[..., None].to(x.dtype)
        if cu_seqlens is None:
            y, new_cache = self._one(x, cache)
        else:
            bounds = cu_seqlens.tolist()
            parts = [
                self._one(x[:, start:stop], None if cache is None else cache[i : i + 1])
                for i, (start, stop) in enumerate(itertools.pairwise(bounds))
            ]
            y, new_cache = (
                torch.cat(part, dim) for part, dim in zip(zip(*parts, strict=True), (1, 0), strict=True)
            )
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

    def update(self, layer_idx: int = 0, offset: int = 0, **states: Any) -> dict[str, Any]:
        """Replaces what the layer stored; `offset` counts its tokens."""
        while len(self.states) <= layer_idx:
            self.states.append(
                {"recurrent_state": None, "conv_state": None, "attn_state": None, "ffn_state": None}
            )
        self.states[layer_idx].update({name: state for name, state in states.items() if state is not None})
        self.seen += offset
        return self.states[layer_idx]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen."""
        return self.seen


def l2_norm(x: Tensor, eps: float = 1e-6, **kwargs: Any) -> Tensor:
    """x / sqrt(sum x^2 + eps) over the last axis."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def get_unpad_data(attention_mask: Tensor) -> tuple[Tensor, Tensor, int]:
    """(positions of the ones in the flattened mask, boundaries of the rows without padding, longest row)."""
    lengths = attention_mask.sum(-1, dtype=torch.int32)
    positions = attention_mask.flatten().nonzero().flatten()
    return positions, F.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0)), int(lengths.max())


def index_first_axis(x: Tensor, indices: Tensor) -> Tensor:
    """Rows of x."""
    return x[indices]


def pad_input(x_SD: Tensor, indices: Tensor, batch: int, length: int) -> Tensor:
    """[S, …] back to [B, T, …], zeros where the mask was zero."""
    padded = x_SD.new_zeros(batch * length, *x_SD.shape[1:])
    return padded.index_copy(0, indices, x_SD).unflatten(0, (batch, length))


def _delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    q, k = (l2_norm(q), l2_norm(k)) if use_qk_l2norm_in_kernel else (q, k)
    o, state = delta_rule(q, k, v, beta, scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens)
    return o, state if output_final_state else None


def _uncompiled(model: Any = None, **kwargs: Any) -> Any:
    return model if model is not None else lambda function: function


_NORMS = {"RMSNorm": RMSNorm, "FusedRMSNormGated": RMSNorm, "FusedRMSNormSwishGate": RMSNorm}
_UNPAD = {"get_unpad_data": get_unpad_data, "index_first_axis": index_first_axis, "pad_input": pad_input}
_L2 = {"l2norm": l2_norm, "l2_norm": l2_norm}
_DELTA: dict[str, Callable[..., Any]] = dict.fromkeys(
    ("chunk_delta_rule", "fused_recurrent_delta_rule"), _delta_rule
)
_MODULES: dict[str, dict[str, Any]] = {
    "fla": {},
    "fla.layers": {},
    "fla.layers.utils": _UNPAD,
    "fla.models": {},
    "fla.models.utils": {"Cache": Cache},
    "fla.modules": {**_NORMS, "ShortConvolution": ShortConvolution},
    "fla.modules.convolution": {"ShortConvolution": ShortConvolution},
    "fla.modules.fused_norm_gate": _NORMS,
    "fla.modules.l2norm": _L2,
    "fla.modules.layernorm": _NORMS,
    "fla.ops": {},
    "fla.ops.delta_rule": _DELTA,
}


@contextmanager
def installed() -> Iterator[None]:
    """The helpers under their FLA names and torch.compile out of the way, until the block ends."""
    modules, compiler = dict(sys.modules), torch.compile
    for name in [name for name in sys.modules if name.split(".")[0] == "fla"]:
        del sys.modules[name]
    for name, contents in _MODULES.items():
        module = ModuleType(name)
        module.__path__ = []  # a package, so that its submodules import
        vars(module).update(contents)
        sys.modules[name] = module
    torch.compile = _uncompiled
    try:
        yield
    finally:
        torch.compile = compiler
        for name in _MODULES:
            sys.modules.pop(name, None)
        sys.modules.update({name: module for name, module in modules.items() if name.split(".")[0] == "fla"})
