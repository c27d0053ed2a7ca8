"""PathGateFusionNet: first how much to copy, then how to mix the context; a small residual; gates a head.

Stage one gives a share to the values as they are, at most 1 - 0.02 so that some context always passes; stage two
divides the rest among a short filter, a long filter and the delta rule. A residual of the short filter is always on.
Both stages and the head gate see the token and four statistics of the paths: mean, deviation, mean magnitude, length.

Source: Liu et al. 2025, arXiv 2507.18074, section 4.2 (experiment 1505, `delta_net_hpg`). No program was released:
built from the text and the nearest released relatives, experiments 843, 1434 and 1448. Inferred: everything below
the text's level. Two MLPs D + 16 H -> D -> H and D + 12 H -> D -> 3 H with GELU (1434); the copy logit starts at
+1.25, the least context at 0.02; temperature softplus(a_h) + 0.05, first 0.7 (1448); residual of weight sigmoid(-1)
times sigmoid(x w - 1) (1448); head gates 4 sigmoid(.), first 1 (1448); filters of 3 and 31 taps (843) that start as
the identity (in 1434 the impulse sits on the oldest tap, which makes them delays). As its relative has it: the head
gate comes before the norm a head, which cancels any positive factor. Repaired (`GATE_AFTER_NORM`): it comes after.
Left out: entropy terms, which nothing reads.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved channels, W
taps, P paths, N router inputs.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.delta_rule import delta_rule
from asiarc.kernels.fir import fir
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
SHORT_TAPS = 3
LONG_TAPS = 31
LEAST_CONTEXT = 0.02
GATE_AFTER_NORM = False


def impulse(channels: int, taps: int) -> Tensor:
    """A filter that passes the present token on, plus a little noise: its path starts as the identity."""
    weight_DW = 0.02 * torch.randn(channels, taps)
    weight_DW[:, -1] += 1
    return weight_DW


def mlp(inputs: int, hidden: int, outputs: int, bias: float) -> nn.Sequential:
    """Two layers whose outputs start around a bias."""
    last = nn.Linear(hidden, outputs)
    nn.init.constant_(last.bias, bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), last)


def statistics(paths_BTHPV: Tensor) -> Tensor:
    """Mean, deviation, mean magnitude and length of each path over the channels of a head."""
    return torch.cat(
        (
            paths_BTHPV.mean(-1),
            (paths_BTHPV.var(-1) + 1e-6).sqrt(),
            paths_BTHPV.abs().mean(-1),
            (paths_BTHPV.square().sum(-1) + 1e-6).sqrt(),
        ),
        dim=-1,
    ).flatten(2)


class Mixer(nn.Module):
    """o = p v + (1 - p) sum_c w_c path_c + residual, then RMSNorm and a gate a head."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        self.short_DW = nn.Parameter(impulse(d_model, SHORT_TAPS))
        self.long_DW = nn.Parameter(impulse(d_model, LONG_TAPS))
        self.copy = mlp(d_model + 16 * num_heads, d_model, num_heads, 1.25)
        self.context = mlp(d_model + 12 * num_heads, d_model, 3 * num_heads, 0.0)
        self.temperature_H1 = nn.Parameter(torch.full((num_heads, 1), math.log(math.expm1(0.65))))
        self.residual = nn.Linear(d_model, num_heads)
        nn.init.constant_(self.residual.bias, -1.0)
        self.residual_scale_H = nn.Parameter(torch.full((num_heads,), -1.0))
        self.gate = nn.Linear(d_model + 16 * num_heads, num_heads)
        nn.init.constant_(self.gate.bias, -math.log(3.0))  # 4 sigmoid(-log 3) = 1
        self.norm = nn.RMSNorm(d_model // num_heads, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def mix(self, x_BTD: Tensor, paths_BTHPV: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of the values and the three contextual paths, mixed; and the gate of each head."""
        seen_BTN = torch.cat((x_BTD, statistics(paths_BTHPV)), dim=-1)
        context_BTN = torch.cat((x_BTD, statistics(paths_BTHPV[..., 1:, :])), dim=-1)
        copied_BTH1 = (1 - LEAST_CONTEXT) * torch.sigmoid(self.copy(seen_BTN))[..., None]
        logits_BTHP = rearrange(self.context(context_BTN), "b t (h p) -> b t h p", h=self.num_heads)
        context_BTHP = torch.softmax(logits_BTHP / (softplus(self.temperature_H1) + 0.05), dim=-1)
        weights_BTHP = torch.cat((copied_BTH1, (1 - copied_BTH1) * context_BTHP), dim=-1)
        o_BTHV = (weights_BTHP[..., None] * paths_BTHPV).sum(dim=-2)
        return o_BTHV, 4 * torch.sigmoid(self.gate(seen_BTN))[..., None]

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
        o_BTHV, gate_BTH1 = self.mix(x_BTD, paths_BTHPV)
        residual_BTH = torch.sigmoid(self.residual_scale_H) * torch.sigmoid(self.residual(x_BTD))
        o_BTHV = o_BTHV + residual_BTH[..., None] * short_BTHV
        o_BTHV = gate_BTH1 * self.norm(o_BTHV) if GATE_AFTER_NORM else self.norm(gate_BTH1 * o_BTHV)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV, "short": short_state, "long": long_state}
