"""Gated linear attention: every key channel forgets at a rate that the token chooses.

S_t = diag(alpha_t) S_{t-1} + k_t v_t^T with alpha_t in (0, 1)^K computed from x_t through a low-rank map. The
temperature 16 keeps alpha near one at the start, so that a fresh model remembers before it learns what to
drop.

Source: Yang et al. 2023, arXiv 2312.06635, eq. 3 (recurrence) and sec. 4.4 (alpha = sigmoid(x W1 W2 +
b)^(1/16), rank 16, Swish output gate after a norm a head).
Differs from the paper: K == V == D / H (there K is half of V), RMSNorm instead of LayerNorm.

Axes: B batch, T time, D width, H heads, K key and V value width of a head.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.gla import gla

State = dict[str, Tensor]
RANK = 16
TEMPERATURE = 16.0


class Mixer(nn.Module):
    """S_t = diag(alpha_t) S_{t-1} + k_t v_t^T, normed a head, SiLU-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.decay = nn.Sequential(nn.Linear(d_model, RANK, bias=False), nn.Linear(RANK, d_model, bias=False))
        self.decay_bias_D = nn.Parameter(torch.zeros(d_model))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm_weight_V = nn.Parameter(torch.ones(head_dim))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V]."""
        state = state or {}
        qkv_3BTHK = rearrange(self.qkv(x_BTD), "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        log_decay_BTD = logsigmoid(self.decay(x_BTD) + self.decay_bias_D) / TEMPERATURE
        log_decay_BTHK = rearrange(log_decay_BTD, "b t (h k) -> b t h k", h=self.num_heads)
        o_BTHV, memory_BHKV = gla(q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK, initial_state=state.get("memory"))
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"memory": memory_BHKV}
