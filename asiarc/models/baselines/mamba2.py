"""Mamba-2: a state-space model read as linear attention with one data-dependent decay a head.

S_t = exp(-a_h dt_t) S_{t-1} + B_t (dt_t x_t)^T, y_t = C_t S_t + D_h x_t: the step size dt_t decides at once
how much of the past goes and how much of the token comes in. Keys B and queries C are shared by all heads
(multi-value heads), as in the paper.

Source: Dao and Gu 2024, arXiv 2405.21060, eq. 1 with scalar A, sec. 7.1 to 7.2 (block, heads), mamba_ssm's
Mamba2 for the inits.
Differs from the paper: no expansion (the inner width is D), state size K == V == D / H so that memories are
of equal size across baselines; the norm is taken a head and gated after it; softer gates at the start (a in
[1, 4], dt <= 0.05; there [1, 16] and 0.1) so that small models train in few steps.

Axes: B batch, T time, D width, H heads, K key and V value width of a head, C convolved channels, W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.short_convolution import short_convolution
from asiarc.kernels.simple_gla import simple_gla

State = dict[str, Tensor]
TAPS = 4


class Mixer(nn.Module):
    """S_t = exp(-a dt_t) S_{t-1} + k_t (dt_t v_t)^T, read by q_t, plus a skip, normed a head, SiLU-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        self.head_dim = head_dim
        channels = d_model + 2 * self.head_dim
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.step = nn.Linear(d_model, num_heads, bias=False)
        first_step_H = torch.exp(torch.empty(num_heads).uniform_(math.log(1e-3), math.log(0.05)))
        self.step_bias_H = nn.Parameter(first_step_H.expm1().log())
        self.log_rate_H = nn.Parameter(torch.empty(num_heads).uniform_(1, 4).log())
        self.skip_H1 = nn.Parameter(torch.ones(num_heads, 1))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm_weight_V = nn.Parameter(torch.ones(head_dim))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the last inputs of the convolution [B, C, W - 1]."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        q_BTK, k_BTK, v_BTD = qkv_BTC.split((self.head_dim, self.head_dim, x_BTD.shape[-1]), dim=-1)
        q_BT1K, k_BT1K = q_BTK[:, :, None], k_BTK[:, :, None]
        v_BTHV = rearrange(v_BTD, "b t (h v) -> b t h v", h=self.num_heads)
        step_BTH = softplus(self.step(x_BTD) + self.step_bias_H)
        log_decay_BTH = -self.log_rate_H.exp() * step_BTH
        written_BTHV = (v_BTHV * step_BTH[..., None]).type_as(v_BTHV)
        o_BTHV, memory_BHKV = simple_gla(
            q_BT1K, k_BT1K, written_BTHV, log_decay_BTH, scale=1.0, initial_state=state.get("memory")
        )
        o_BTHV = o_BTHV + self.skip_H1 * v_BTHV
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV}
