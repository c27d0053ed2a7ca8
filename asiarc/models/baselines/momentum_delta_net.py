"""Momentum DeltaNet: corrections gather in a second memory, as gradients do in an optimiser with momentum.

N_t = mu_t N_{t-1} + eta_t k_t (v_t - alpha_t S_{t-1}^T k_t)^T, S_t = alpha_t S_{t-1} + beta_t N_t: the delta
rule is one step of gradient descent a token; here the step has momentum, so that a correction goes on to be
written while later tokens are read. How fast the past goes and how much is written are tied, alpha_t <=
1 / (1 + r_t^2) and beta_t <= r_t^2 / (1 + r_t^2), which keeps the pair of memories from growing.

Source: Huang et al. 2026, arXiv 2605.05838, the gated momentum delta rule (N is the paper's momentum with its
sign turned) and its layer (four gates a head, r_t = eta_t f with a learnt f, the query less a learnt share of
the key, convolution of 4, SiLU, L2 norms, RMSNorm, SiLU output gate).
Differs from the paper: V == K == D / H (there V is twice K); softer gates at the start (rates in [1, 4], steps
<= 0.05; there [0, 16] and 0.1) so that small models train in few steps.

Axes: B batch, T time, D width, H heads, K key and V value width of a head, Z == 2 K rows of both memories, C
convolved channels, W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.momentum_delta_rule import momentum_delta_rule
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
FASTEST = -2.0  # the momentum keeps at least e^-2 a token


class Mixer(nn.Module):
    """N_t = mu_t N_{t-1} + eta_t k_t (v_t - S'^T k_t)^T, S_t = S' + beta_t N_t, S' = alpha_t S_{t-1}, gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.gates = nn.Linear(d_model, 4 * num_heads, bias=False)
        first_step_H = torch.exp(torch.empty(num_heads).uniform_(math.log(1e-3), math.log(0.05)))
        self.step_bias_H = nn.Parameter(first_step_H.expm1().log())
        self.momentum_bias_H = nn.Parameter(first_step_H.expm1().log())
        self.log_rate_H = nn.Parameter(torch.empty(num_heads).uniform_(1, 4).log())
        self.log_momentum_rate_H = nn.Parameter(torch.empty(num_heads).uniform_(1, 4).log())
        self.log_factor_H = nn.Parameter(torch.empty(num_heads).uniform_(0.1, 4).log())
        self.log_share_H1 = nn.Parameter(torch.empty(num_heads, 1).uniform_(0.1, 1).log())
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm_weight_V = nn.Parameter(torch.ones(head_dim))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is both memories [B, H, Z, V] and the last inputs of the convolution [B, C, W - 1]."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        q_BTHK = l2_norm((q_BTHK - self.log_share_H1.exp() * k_BTHK).type_as(k_BTHK))
        k_BTHK = l2_norm(k_BTHK)
        step_BTH, momentum_BTH, share_BTH, strength_BTH = self.gates(x_BTD).chunk(4, dim=-1)
        eta_BTH = 1 + torch.tanh(strength_BTH / math.sqrt(x_BTD.shape[-1]))
        square_BTH = (eta_BTH * self.log_factor_H.exp()).square()
        log_decay_BTH = -torch.log1p(square_BTH) - self.log_rate_H.exp() * softplus(step_BTH + self.step_bias_H)
        beta_BTH = torch.sigmoid(share_BTH) * square_BTH / (1 + square_BTH)
        log_momentum_BTH = -self.log_momentum_rate_H.exp() * softplus(momentum_BTH + self.momentum_bias_H)
        o_BTHV, memories_BHZV = momentum_delta_rule(
            q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, log_momentum_BTH.clamp(min=FASTEST), eta_BTH,
            scale=1.0, initial_state=state.get("memories"),
        )  # fmt: skip
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memories": memories_BHZV}
