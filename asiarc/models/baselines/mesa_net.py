"""MesaNet: a memory that is solved anew at every token, by the least squares of all that it was shown.

o_t = G_t^T (H_t + Lambda)^-1 q_t with H_t = gamma_t H_{t-1} + beta_t k_t k_t^T, G_t = gamma_t G_{t-1} + beta_t k_t
v_t^T: the linear map that fits all keys to their values best, under a ridge Lambda and fading weights, where the delta
rule takes one gradient step a token towards it. The system is solved by a few steps of conjugate gradients, each of
which is a read of the memory H.

Source: von Oswald et al. 2025, arXiv 2506.05233, eq. 6 to 9 (recurrence and solution) and sec. 3 (conjugate
gradients from zero in chunks; convolution of 4 with SiLU and L2 norms on queries and keys, sigmoid gates with bias,
ridge 0.25 + softplus from 1, RMSNorm before the output projection).
Differs from the paper: 8 steps (there up to 30, for keys of 128 channels); gradients go through the steps (there a
second solution gives them).

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved channels,
W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution
from asiarc.kernels.simple_gla import simple_gla

State = dict[str, Tensor]
TAPS = 4
STEPS = 8
LEAST_RIDGE = 0.25
TINY = 1e-5  # under divisions, whose dividends vanish as the solution is reached


def mesa(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    ridge_HK: Tensor,
    state: State,
    steps: int = STEPS,
) -> tuple[Tensor, State]:
    """o_t = G_t^T x_t, (H_t + Lambda) x_t = q_t after `steps` of conjugate gradients; and the memories H and G."""
    written_BTHK = beta_BTH[..., None] * k_BTHK

    def times_keys(p_BTHK: Tensor) -> tuple[Tensor, Tensor]:
        read_BTHK, keys_BHKK = simple_gla(
            p_BTHK, written_BTHK, k_BTHK, log_decay_BTH, scale=1.0, initial_state=state.get("keys")
        )
        return read_BTHK + ridge_HK * p_BTHK, keys_BHKK

    x_BTHK, rest_BTHK, toward_BTHK = torch.zeros_like(q_BTHK), q_BTHK, q_BTHK
    error_BTH1 = rest_BTHK.square().sum(-1, keepdim=True)
    for _ in range(steps):
        pulled_BTHK, keys_BHKK = times_keys(toward_BTHK)
        length_BTH1 = error_BTH1 / ((toward_BTHK * pulled_BTHK).sum(-1, keepdim=True) + TINY)
        x_BTHK = x_BTHK + length_BTH1 * toward_BTHK
        rest_BTHK = rest_BTHK - length_BTH1 * pulled_BTHK
        before_BTH1, error_BTH1 = error_BTH1, rest_BTHK.square().sum(-1, keepdim=True)
        toward_BTHK = rest_BTHK + error_BTH1 / (before_BTH1 + TINY) * toward_BTHK
    o_BTHV, values_BHKV = simple_gla(
        x_BTHK, written_BTHK, v_BTHV, log_decay_BTH, scale=1.0, initial_state=state.get("values")
    )
    return o_BTHV, {"keys": keys_BHKK, "values": values_BHKV}


class Mixer(nn.Module):
    """o_t = G_t^T (H_t + Lambda)^-1 q_t, normed a head."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        self.qk = nn.Linear(d_model, 2 * d_model, bias=False)
        self.v = nn.Linear(d_model, d_model, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(2 * d_model, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads)
        self.decay = nn.Linear(d_model, num_heads)
        first = math.log(math.expm1(1 - LEAST_RIDGE))
        self.ridge_HK = nn.Parameter(torch.full((num_heads, head_dim), first))
        self.norm = nn.RMSNorm(head_dim, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state: H as "keys" [B, H, K, K], G as "values" [B, H, K, V], the convolution's inputs [B, C, W - 1]."""
        state = state or {}
        qk_BTC, conv_state = short_convolution(
            self.qk(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        q_BTHK, k_BTHK = rearrange(qk_BTC, "b t (n h k) -> n b t h k", n=2, h=self.num_heads).unbind()
        v_BTHV = rearrange(self.v(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV, memories = mesa(
            l2_norm(q_BTHK), l2_norm(k_BTHK), v_BTHV, logsigmoid(self.decay(x_BTD)), torch.sigmoid(self.beta(x_BTD)),
            LEAST_RIDGE + softplus(self.ridge_HK), state,
        )  # fmt: skip
        y_BTD = self.out(rearrange(self.norm(o_BTHV), "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state} | memories
