"""Kimi delta attention: the gated delta rule with a forgetting rate for every key channel.

S_t = (I - beta_t k_t k_t^T) diag(alpha_t) S_{t-1} + beta_t k_t v_t^T: GLA's gate in the delta rule. Channels
that hold slow facts keep them while fast ones are cleared; the channel-wise decay also carries position, as
rotary embeddings do in attention.

Source: Kimi Team 2025, Kimi Linear, arXiv 2510.26692, eq. 1 and sec. 4 (low-rank decay with Mamba-2's gate
form, L2-normalised SiLU queries and keys after a convolution of 4, RMSNorm a head, low-rank sigmoid output
gate).
Differs from the paper: softer gates at the start (a in [1, 4], step <= 0.05) so that small models train in
few steps.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved
channels, W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.kda import kda
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4


class Mixer(nn.Module):
    """S_t = (I - beta_t k_t k_t^T) diag(alpha_t) S_{t-1} + beta_t k_t v_t^T, normed a head, sigmoid-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        self.step = nn.Sequential(
            nn.Linear(d_model, head_dim, bias=False), nn.Linear(head_dim, d_model, bias=False)
        )
        first_step_D = torch.exp(torch.empty(d_model).uniform_(math.log(1e-3), math.log(0.05)))
        self.step_bias_D = nn.Parameter(first_step_D.expm1().log())
        self.log_rate_H1 = nn.Parameter(torch.empty(num_heads, 1).uniform_(1, 4).log())
        self.gate = nn.Sequential(
            nn.Linear(d_model, head_dim, bias=False), nn.Linear(head_dim, d_model, bias=False)
        )
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
        q_BTHK, k_BTHK = l2_norm(q_BTHK), l2_norm(k_BTHK)
        beta_BTH = torch.sigmoid(self.beta(x_BTD))
        step_BTD = softplus(self.step(x_BTD) + self.step_bias_D)
        step_BTHK = rearrange(step_BTD, "b t (h k) -> b t h k", h=self.num_heads)
        log_decay_BTHK = -self.log_rate_H1.exp() * step_BTHK
        o_BTHV, memory_BHKV = kda(
            q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK, beta_BTH, scale=1.0, initial_state=state.get("memory")
        )
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = self.norm(o_BTHV)
        o_BTHV = o_BTHV * torch.sigmoid(gate_BTHV)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV}
