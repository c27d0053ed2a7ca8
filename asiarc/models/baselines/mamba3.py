"""Mamba-3: a state-space model whose state turns, integrated by the trapezoidal rule.

h_t = alpha_t h_{t-1} + (1 - lambda_t) dt_t alpha_t B_{t-1} x_{t-1}^T + lambda_t dt_t B_t x_t^T, alpha_t =
exp(-a_t dt_t), y_t = C_t h_t + D_h x_t: a token enters twice, as it comes and, by the share that the next one
chooses, a token later, which does what Mamba-2's convolution did. B and C are normed, moved by a learnt bias
and turned by an angle that grows by dt_t theta_t a token, as if the state were complex; so it can count.

Source: Lahoti et al. 2026, arXiv 2603.15569, the exponential-trapezoidal recurrence, the complex state as a
data-dependent rotary embedding and the block of one input and one output; the rate pi tanh(x W) of the angles,
which half of the channels have, and the inits are those of the authors' code.
Differs from the paper: no expansion (the inner width is D), state size K == V == D / H so that memories are of
equal size across baselines; steps <= 0.05 at the start (there 0.1); the form with several inputs is left out.

The memory U_t = h_t - lambda_t dt_t B_t x_t^T holds what earlier tokens wrote: U_t = alpha_t (U_{t-1} +
(lambda_{t-1} dt_{t-1} + (1 - lambda_t) dt_t) B_{t-1} x_{t-1}^T) is a gated linear attention over shifted tokens.

Axes: B batch, T time, D width, H heads, K key and V value width of a head, F angles (about K / 4).
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad, silu, softplus

from asiarc.kernels.simple_gla import simple_gla

State = dict[str, Tensor]


def rotate(x_BTHK: Tensor, angle_BTHF: Tensor) -> Tensor:
    """Turn the pairs (i, i + F) of the first 2 F channels by their angles."""
    cos, sin = angle_BTHF.cos().type_as(x_BTHK), angle_BTHF.sin().type_as(x_BTHK)
    turned = 2 * angle_BTHF.shape[-1]
    first, second = x_BTHK[..., :turned].chunk(2, dim=-1)
    parts = (first * cos - second * sin, second * cos + first * sin, x_BTHK[..., turned:])
    return torch.cat(parts, dim=-1)


def shifted(x_BTHX: Tensor, last_BHX: Tensor | None) -> Tensor:
    """Each token's predecessor: the last of the state first, zero where there is none."""
    if last_BHX is None:
        return pad(x_BTHX, (0, 0, 0, 0, 1, 0))[:, :-1]
    return torch.cat((last_BHX[:, None], x_BTHX[:, :-1]), dim=1)


class Mixer(nn.Module):
    """h_t = alpha_t (h_{t-1} + (1 - lambda_t) dt_t B_{t-1} x_{t-1}^T) + lambda_t dt_t B_t x_t^T, read by C_t."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        self.head_dim = head_dim
        self.angles = max(1, head_dim // 4)
        self.qkv = nn.Linear(d_model, d_model + 2 * head_dim, bias=False)
        self.steps = nn.Linear(d_model, 3 * num_heads + self.angles, bias=False)
        first_step_H = torch.exp(torch.empty(num_heads).uniform_(math.log(1e-3), math.log(0.05)))
        self.step_bias_H = nn.Parameter(first_step_H.expm1().log())
        self.q_norm = nn.RMSNorm(head_dim, eps=1e-5)
        self.k_norm = nn.RMSNorm(head_dim, eps=1e-5)
        self.q_bias_HK = nn.Parameter(torch.ones(num_heads, head_dim))
        self.k_bias_HK = nn.Parameter(torch.ones(num_heads, head_dim))
        self.skip_H1 = nn.Parameter(torch.ones(num_heads, 1))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory U [B, H, K, V], the last key, input and weight, and the angles [B, H, F]."""
        state = state or {}
        q_BTK, k_BTK, v_BTD = self.qkv(x_BTD).split((self.head_dim, self.head_dim, x_BTD.shape[-1]), dim=-1)
        v_BTHV = rearrange(v_BTD, "b t (h v) -> b t h v", h=self.num_heads)
        sizes = (self.num_heads, self.num_heads, self.num_heads, self.angles)
        step_BTH, rate_BTH, trapezoid_BTH, turn_BTF = self.steps(x_BTD).split(sizes, dim=-1)
        step_BTH = softplus(step_BTH + self.step_bias_H)
        share_BTH = torch.sigmoid(trapezoid_BTH)
        log_decay_BTH = -softplus(rate_BTH) * step_BTH

        turn_BTHF = math.pi * torch.tanh(turn_BTF)[:, :, None] * step_BTH[..., None]
        exact = torch.promote_types(turn_BTHF.dtype, torch.float32)
        angle_BTHF = turn_BTHF.cumsum(1, dtype=exact)
        if state:
            angle_BTHF = angle_BTHF + state["angle"][:, None]
        q_BTHK = rotate(self.q_norm(q_BTK)[:, :, None] + self.q_bias_HK, angle_BTHF).type_as(v_BTHV)
        k_BTHK = rotate(self.k_norm(k_BTK)[:, :, None] + self.k_bias_HK, angle_BTHF).type_as(v_BTHV)

        now_BTH1 = (share_BTH * step_BTH)[..., None]
        later_BTH1 = ((1 - share_BTH) * step_BTH)[..., None]
        weight_BTH1 = log_decay_BTH.exp()[..., None] * (shifted(now_BTH1, state.get("weight")) + later_BTH1)
        written_BTHV = (weight_BTH1 * shifted(v_BTHV, state.get("value"))).type_as(v_BTHV)
        o_BTHV, memory_BHKV = simple_gla(
            q_BTHK, shifted(k_BTHK, state.get("key")), written_BTHV, log_decay_BTH,
            scale=1.0, initial_state=state.get("memory"),
        )  # fmt: skip
        own_BTH1 = now_BTH1 * (q_BTHK * k_BTHK).sum(-1, keepdim=True)
        o_BTHV = o_BTHV + (own_BTH1 + self.skip_H1) * v_BTHV
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)") * silu(self.gate(x_BTD)))
        last = {"key": k_BTHK, "value": v_BTHV, "weight": now_BTH1, "angle": angle_BTHF.remainder(2 * math.pi)}
        return y_BTD, {"memory": memory_BHKV} | {name: x[:, -1] for name, x in last.items()}
