"""A control that knows which n-grams stood near, and neither where nor what followed: their mean over 64 tokens.

u_t = silu(sum_{w < 4} f_w v_{t-w}) is a learnt feature of the four tokens up to t, b_t = 1/64 sum_{s=t-63..t} u_s
their bag, y_t = W_o (norm(m * u_t + n * b_t) * silu(W_g x_t)) with a weight of either a channel. It stands for topic
and style: words that were used make words likely, but nothing is asked for by a key, and the order of the 64 is lost.
A mixer that is ahead of `local_filter` and not of this one has a topic, and no memory that can be addressed.

Axes: B batch, T time, D width, H heads, V width of a head (D / H), P tokens before that are in the bag (63), W taps.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
BAG = 64


class Mixer(nn.Module):
    """Features of the last `TAPS` tokens, beside their mean over the last `BAG`; a norm a head, an output gate."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.values = nn.Linear(d_model, d_model, bias=False)
        self.filter_DW = nn.Parameter(torch.empty(d_model, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.near_D = nn.Parameter(torch.ones(d_model))
        self.bag_D = nn.Parameter(torch.ones(d_model))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm_weight_V = nn.Parameter(torch.ones(d_model // num_heads))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the last inputs of the filter [B, D, W - 1] and the last features [B, P, D]."""
        state = state or {"features": x_BTD.new_zeros(len(x_BTD), BAG - 1, x_BTD.shape[-1])}
        u_BTD, last = short_convolution(
            self.values(x_BTD), self.filter_DW, activation="silu", initial_state=state.get("filter")
        )
        features_BSD = torch.cat((state["features"].type_as(u_BTD), u_BTD), dim=1)
        bag_BTD = avg_pool1d(features_BSD.mT, BAG, stride=1).mT
        o_BTD = self.near_D * u_BTD + self.bag_D * bag_BTD
        o_BTHV, gate_BTHV = (rearrange(a, "b t (h v) -> b t h v", h=self.num_heads) for a in (o_BTD, self.gate(x_BTD)))
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"filter": last, "features": features_BSD[:, 1 - BAG :]}
