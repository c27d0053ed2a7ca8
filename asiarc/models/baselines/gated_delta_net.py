"""Gated DeltaNet: the delta rule that can also wipe the slate.

S_t = alpha_t S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T: the delta rule overwrites one binding
precisely, the scalar gate alpha_t drops many at once. Each mends the other's weakness: DeltaNet cannot forget
what it never meets again, a gate alone cannot change one binding without fading the rest.

Source: Yang, Kautz, Hatamizadeh 2024, arXiv 2412.06464, eq. 10; the gate alpha = exp(-a softplus(x w + b)) is
Mamba-2's (arXiv 2405.21060), the block (convolution of 4, SiLU, L2 norms, RMSNorm, SiLU output gate) that of
its fig. 1.
Differs from the paper: V == K == D / H (there V is twice K); softer gates at the start (a in [1, 4], step <=
0.05; there [0, 16] and 0.1) so that small models train in few steps.

Axes: B batch, T time, D width, H heads, K key and V value width of a head, C convolved channels, W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4


class Mixer(nn.Module):
    """S_t = alpha_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, normed a head, SiLU-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        self.step = nn.Linear(d_model, num_heads, bias=False)
        first_step_H = torch.exp(torch.empty(num_heads).uniform_(math.log(1e-3), math.log(0.05)))
        self.step_bias_H = nn.Parameter(first_step_H.expm1().log())
        self.log_rate_H = nn.Parameter(torch.empty(num_heads).uniform_(1, 4).log())
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm_weight_V = nn.Parameter(torch.ones(head_dim))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the last inputs of the convolution [B, C, W - 1]."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        q_BTHK, k_BTHK = l2_norm(q_BTHK), l2_norm(k_BTHK)
        beta_BTH = torch.sigmoid(self.beta(x_BTD))
        step_BTH = softplus(self.step(x_BTD) + self.step_bias_H)
        log_decay_BTH = -self.log_rate_H.exp() * step_BTH
        o_BTHV, memory_BHKV = gated_delta_rule(
            q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, scale=1.0, initial_state=state.get("memory")
        )
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV}
