"""A control without memory: values through a causal filter of 8 taps, normed a head, gated.

y_t = W_o (norm(sum_{w < 8} f_w v_{t-w}) * silu(W_g x_t)): what stood more than 7 tokens back is gone, so that L layers
reach 7 L tokens and no state of the text exists. A mixer that is not ahead of it by its memory is ahead by nothing
that a filter, a norm and a gate do not give.

Axes: B batch, T time, D width, H heads, V width of a head (D / H), W taps.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 8


class Mixer(nn.Module):
    """A filter of `TAPS` a channel, a norm a head, an output gate."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.values = nn.Linear(d_model, d_model, bias=False)
        self.filter_DW = nn.Parameter(torch.empty(d_model, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm_weight_V = nn.Parameter(torch.ones(d_model // num_heads))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the last inputs of the filter [B, D, W - 1]."""
        o_BTD, last = short_convolution(
            self.values(x_BTD), self.filter_DW, activation=None, initial_state=(state or {}).get("filter")
        )
        o_BTHV, gate_BTHV = (rearrange(a, "b t (h v) -> b t h v", h=self.num_heads) for a in (o_BTD, self.gate(x_BTD)))
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        return self.out(rearrange(o_BTHV, "b t h v -> b t (h v)")), {"filter": last}
