"""A file as it stands in FLA's own tree: relative imports, a dataclass, keyword-only sizes under other names."""

from __future__ import annotations

import typing as tp
from dataclasses import dataclass

import torch
from torch import bfloat16, nn

from ..modules import RMSNorm
from ..modules.activations import ACT2FN, swish
from ..ops import chunk_simple_gla
from ..utils import input_guard
from .utils import pad_input  # noqa: F401

if tp.TYPE_CHECKING:
    from ..models.utils import Cache


@dataclass
class Sizes:
    dim: int
    heads: int
    half: int | None = None

    def __post_init__(self):
        self.half = self.dim // 2


class DeltaNet(nn.Module):
    def __init__(self, *, dim: int, n_heads: int, layer_idx: int, act: str = "swish"):
        super().__init__()
        self.sizes, self.layer_idx = Sizes(dim, n_heads), layer_idx
        self.act = ACT2FN[act]
        self.inner = nn.Linear(dim, 3 * self.sizes.half)
        self.decay = nn.Linear(dim, n_heads)
        self.norm = RMSNorm(hidden_size=self.sizes.half, elementwise_affine=True, eps=1e-5)
        self.outer = nn.Linear(self.sizes.half, dim)

    @input_guard
    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        **kwargs: tp.Any,
    ):
        q, k, v = (t.unflatten(-1, (self.sizes.heads, -1)) for t in self.act(self.inner(hidden_states)).chunk(3, -1))
        if attention_mask is not None:
            v = v.mul(attention_mask[:, -v.shape[1] :, None, None])
        g = nn.functional.logsigmoid(self.decay(hidden_states)) / 16
        kept = dict(output_final_state=True, initial_state=None)
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            kept["initial_state"] = past_key_values[self.layer_idx]["recurrent_state"]
        o, state = chunk_simple_gla(q, k, v, g, **kept)
        if use_cache:
            past_key_values.update(state, layer_idx=self.layer_idx, offset=v.shape[1])
        rounded = self.norm(o.flatten(-2)).to(bfloat16).to(hidden_states.dtype)
        return self.outer(swish(rounded)), None, past_key_values
