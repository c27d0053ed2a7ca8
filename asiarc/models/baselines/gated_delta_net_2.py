"""Gated DeltaNet-2: the delta rule that erases and writes by two gates, each with a value a channel.

S_t = (I - k_t (b_t * k_t)^T) diag(alpha_t) S_{t-1} + k_t (w_t * v_t)^T: b_t says which channels of the key are
read and taken away, w_t which channels of the value are committed. With b_t = w_t = beta_t it is Kimi delta
attention, whose one number ties what is erased to what is written.

Source: Hatamizadeh, Choi, Kautz 2026, arXiv 2605.22791, the gated delta rule 2 and its layer (decay as in Kimi
Linear, both gates a sigmoid of a full projection, convolution of 4, L2-normalised SiLU queries and keys,
RMSNorm a head, low-rank sigmoid output gate).
Differs from the paper: softer gates at the start (a in [1, 4], step <= 0.05; there [1, 16] and 0.1) so that
small models train in few steps.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved
channels, W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.dplr import dplr
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4


class Mixer(nn.Module):
    """S_t = (I - k_t (b_t * k_t)^T) diag(alpha_t) S_{t-1} + k_t (w_t * v_t)^T, normed a head, sigmoid-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.erase = nn.Linear(d_model, d_model, bias=False)
        self.write = nn.Linear(d_model, d_model, bias=False)
        self.step = nn.Sequential(
            nn.Linear(d_model, head_dim, bias=False), nn.Linear(head_dim, d_model, bias=False)
        )
        first_step_D = torch.exp(torch.empty(d_model).uniform_(math.log(1e-3), math.log(0.05)))
        self.step_bias_D = nn.Parameter(first_step_D.expm1().log())
        self.log_rate_H1 = nn.Parameter(torch.empty(num_heads, 1).uniform_(1, 4).log())
        self.gate = nn.Sequential(nn.Linear(d_model, head_dim, bias=False), nn.Linear(head_dim, d_model))
        self.norm = nn.RMSNorm(head_dim, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def heads(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, H, K]."""
        return rearrange(x_BTD, "b t (h k) -> b t h k", h=self.num_heads)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the last inputs of the convolution [B, C, W - 1]."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        q_BTHK, k_BTHK = l2_norm(q_BTHK), l2_norm(k_BTHK)
        erased_BTHK = self.heads(torch.sigmoid(self.erase(x_BTD))) * k_BTHK
        written_BTHV = (self.heads(torch.sigmoid(self.write(x_BTD))) * v_BTHV).type_as(v_BTHV)
        step_BTHK = self.heads(softplus(self.step(x_BTD) + self.step_bias_D))
        log_decay_BTHK = -self.log_rate_H1.exp() * step_BTHK
        o_BTHV, memory_BHKV = dplr(
            q_BTHK, k_BTHK, written_BTHV, log_decay_BTHK, erased_BTHK,
            scale=1.0, initial_state=state.get("memory"),
        )  # fmt: skip
        o_BTHV = self.norm(o_BTHV) * torch.sigmoid(self.heads(self.gate(x_BTD)))
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV}
