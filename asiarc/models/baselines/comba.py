"""Comba: a delta rule in closed loop, which corrects what it stores by a weaker key and what it reads by the same.

S_t = alpha_t S_{t-1} (I - beta_t p_t k_t^T) + beta_t v_t k_t^T with p_t = f k_t, 0 < f < 1, read by q_t - d p_t:
the state is corrected by feedback that is weaker than the write, so that it is never wiped along a key, and the
query is held away from the key just written. In the terms of the gated delta rule the strength is f beta_t and
the value v_t / f.

Source: Hu et al. 2025, arXiv 2506.02475, the scalar-plus-low-rank recurrence with state feedback (f) and output
correction (d), and its layer (the gate alpha of Mamba-2, convolution of 4, SiLU, L2 norms, RMSNorm, sigmoid
output gate).
Differs from the paper: V == K == D / H (there V is twice K); d starts at 0.02, which the authors advise for
small models; softer gates at the start (a in [1, 4], step <= 0.05; there [0, 16] and 0.1) so that small models
train in few steps.

Axes: B batch, T time, D width, H heads, K key and V value width of a head, C convolved channels, W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4


class Mixer(nn.Module):
    """S_t = S' + beta_t k_t (v_t - f S'^T k_t)^T, S' = alpha_t S_{t-1}, read by q_t - d f k_t, sigmoid-gated."""

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
        self.feedback_H1 = nn.Parameter(torch.ones(num_heads, 1))
        self.correction_H1 = nn.Parameter(torch.full((num_heads, 1), 0.02))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm = nn.RMSNorm(head_dim, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the last inputs of the convolution [B, C, W - 1]."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        feedback_H1 = torch.sigmoid(self.feedback_H1)
        q_BTHK = l2_norm((q_BTHK - self.correction_H1 * feedback_H1 * k_BTHK).type_as(k_BTHK))
        k_BTHK = l2_norm(k_BTHK)
        beta_BTH = torch.sigmoid(self.beta(x_BTD)) * feedback_H1[:, 0]
        step_BTH = softplus(self.step(x_BTD) + self.step_bias_H)
        log_decay_BTH = -self.log_rate_H.exp() * step_BTH
        written_BTHV = (v_BTHV / feedback_H1).type_as(v_BTHV)
        o_BTHV, memory_BHKV = gated_delta_rule(
            q_BTHK, k_BTHK, written_BTHV, log_decay_BTH, beta_BTH, scale=1.0, initial_state=state.get("memory")
        )
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = self.norm(o_BTHV) * torch.sigmoid(gate_BTHV)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV}
