"""HierGateNet: first the memory against everything local, then among the local paths; no path is ever shut.

A sigmoid gives the delta rule its share, a softmax with a temperature a head divides the rest among the values, a short
and a long filter. Below every path lies a floor that each head learns for each path and each token may move, so that
none, the delta rule's in particular, collapses: p = eps + (1 - sum eps) raw, eps <= 0.1.

Source: Liu et al. 2025, arXiv 2507.18074, section 4.2. No program was released, and three nodes of the search carry
the name (experiments 570, 944, 1785): built from the text and the nearest released relatives, experiments 645 and
927. Inferred: everything below the text's level. Linear gates without statistics (645); the memory's logit starts
at +0.5, the values' at +2; temperature exp(a_h), first 1; floors 0.1 sigmoid(e_hp + x w), first 0.02; filters of 3
and 31 taps that start as the identity. Nothing here is inert, so there is no repaired form.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved channels, W
taps, P paths.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from asiarc.kernels.delta_rule import delta_rule
from asiarc.kernels.fir import fir
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
SHORT_TAPS = 3
LONG_TAPS = 31
PATHS = 4
LARGEST_FLOOR = 0.1


def impulse(channels: int, taps: int) -> Tensor:
    """A filter that passes the present token on, plus a little noise: its path starts as the identity."""
    weight_DW = 0.02 * torch.randn(channels, taps)
    weight_DW[:, -1] += 1
    return weight_DW


class Mixer(nn.Module):
    """p = eps + (1 - sum eps) [(1 - g) softmax(local), g]; o = sum_p p path_p, then RMSNorm a head."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        self.short_DW = nn.Parameter(impulse(d_model, SHORT_TAPS))
        self.long_DW = nn.Parameter(impulse(d_model, LONG_TAPS))
        self.router = nn.Linear(d_model, PATHS * num_heads, bias=False)
        self.router_bias_HP = nn.Parameter(torch.tensor([2.0, 0.0, 0.0, 0.5]).repeat(num_heads, 1))
        self.log_temperature_H1 = nn.Parameter(torch.zeros(num_heads, 1))
        self.floor = nn.Linear(d_model, PATHS * num_heads, bias=False)
        self.floor_bias_HP = nn.Parameter(torch.full((num_heads, PATHS), -math.log(4.0)))  # a fifth of the largest
        self.norm = nn.RMSNorm(d_model // num_heads, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def weigh(self, x_BTD: Tensor) -> Tensor:
        """The weights of values, short filter, long filter and memory; they sum to one."""
        split = "b t (h p) -> b t h p"
        logits_BTHP = rearrange(self.router(x_BTD), split, h=self.num_heads) + self.router_bias_HP
        memory_BTH1 = torch.sigmoid(logits_BTHP[..., -1:])
        local_BTHP = torch.softmax(logits_BTHP[..., :-1] / self.log_temperature_H1.exp(), dim=-1)
        raw_BTHP = torch.cat(((1 - memory_BTH1) * local_BTHP, memory_BTH1), dim=-1)
        floor_BTHP = rearrange(self.floor(x_BTD), split, h=self.num_heads) + self.floor_bias_HP
        floor_BTHP = LARGEST_FLOOR * torch.sigmoid(floor_BTHP)
        return floor_BTHP + (1 - floor_BTHP.sum(-1, keepdim=True)) * raw_BTHP

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the last inputs of the three filters."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        recalled_BTHV, memory_BHKV = delta_rule(
            l2_norm(q_BTHK), l2_norm(k_BTHK), v_BTHV, torch.sigmoid(self.beta(x_BTD)),
            scale=1.0, initial_state=state.get("memory"),
        )  # fmt: skip
        values_BTD = rearrange(v_BTHV, "b t h v -> b t (h v)")
        short_BTD, short_state = short_convolution(values_BTD, self.short_DW, initial_state=state.get("short"))
        long_BTD, long_state = fir(values_BTD, self.long_DW, initial_state=state.get("long"))
        short_BTHV, long_BTHV = (
            rearrange(path_BTD, "b t (h v) -> b t h v", h=self.num_heads) for path_BTD in (short_BTD, long_BTD)
        )
        paths_BTHPV = torch.stack((v_BTHV, short_BTHV, long_BTHV, recalled_BTHV), dim=-2)
        weights_BTHP = self.weigh(x_BTD)
        o_BTHV = (weights_BTHP[..., None] * paths_BTHPV).sum(dim=-2)
        y_BTD = self.out(rearrange(self.norm(o_BTHV), "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV, "short": short_state, "long": long_state}
