"""Gated DeltaProduct: several steps of the delta rule a token, under one decay.

S_t = G_n(... G_1(alpha_t S_{t-1})), G_r(S) = S + beta_tr k_tr (v_tr - S^T k_tr)^T with beta_tr in (0, 2): each
step moves the memory along one direction, and n of them turn it in any plane that their keys span. One step
with beta = 2 is a reflection, two are a rotation, which is what counting and permuting ask of a memory.

Source: Siems et al. 2025, arXiv 2502.10297, the product of n generalised Householder transformations with
Gated DeltaNet's gate; n = 2 and eigenvalues down to -1 as in the paper's models; the block is that of Gated
DeltaNet (arXiv 2412.06464).
Differs from the paper: V == K == D / H (there V is twice K); softer gates at the start (a in [1, 4], step <=
0.05; there [0, 16] and 0.1) so that small models train in few steps.

Axes: B batch, T time, D width, H heads, K key and V value width of a head, N keys or values a token, R rows of
all tokens, C convolved channels, W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.delta_product import delta_product
from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
STEPS = 2
TAPS = 4


class Mixer(nn.Module):
    """S_t = G_2(G_1(alpha_t S_{t-1})), G_r(S) = S + beta_tr k_tr (v_tr - S^T k_tr)^T, normed, SiLU-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        channels = (1 + 2 * STEPS) * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, STEPS * num_heads, bias=False)
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
        parts_BTNHK = rearrange(qkv_BTC, "b t (n h k) -> b t n h k", n=1 + 2 * STEPS, h=self.num_heads)
        q_BT1HK, k_BTNHK, v_BTNHV = parts_BTNHK.split((1, STEPS, STEPS), dim=2)
        q_BTHK, k_BRHK, v_BRHV = (part.flatten(1, 2) for part in (q_BT1HK, k_BTNHK, v_BTNHV))
        q_BTHK, k_BRHK = l2_norm(q_BTHK), l2_norm(k_BRHK)
        beta_BRH = 2 * torch.sigmoid(rearrange(self.beta(x_BTD), "b t (n h) -> b (t n) h", n=STEPS))
        step_BTH = softplus(self.step(x_BTD) + self.step_bias_H)
        log_decay_BTH = -self.log_rate_H.exp() * step_BTH
        o_BTHV, memory_BHKV = delta_product(
            q_BTHK, k_BRHK, v_BRHV, beta_BRH, g=log_decay_BTH, scale=1.0, initial_state=state.get("memory")
        )
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV}
