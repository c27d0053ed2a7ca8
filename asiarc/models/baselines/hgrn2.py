"""HGRN2: gated linear attention whose key is what the forget gate gives up.

S_t = diag(f_t) S_{t-1} + (1 - f_t) v_t^T: a channel writes as much as it forgets, so one map gives both key and
decay, and the memory is an average over the past, never a growing sum. A lower bound under f keeps slow channels
slow.

Source: Qin et al. 2024, arXiv 2404.07904, eq. 7 and sec. 3.2 (queries in SiLU, a norm before the output
projection); the lower bound is that of HGRN, Qin et al. 2023, arXiv 2311.04823, eq. 5.
Differs from the paper: the bound does not rise from layer to layer, as a mixer does not know its layer; each
channel learns its own, from one half, about the mean of where the paper's begin.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from asiarc.kernels.gla import gla

State = dict[str, Tensor]


class Mixer(nn.Module):
    """S_t = diag(f_t) S_{t-1} + (1 - f_t) v_t^T, read by q_t, normed over all heads."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qfv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.bound_D = nn.Parameter(torch.zeros(d_model))
        self.norm = nn.RMSNorm(d_model, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V]."""
        state = state or {}
        q_BTD, forget_BTD, v_BTD = self.qfv(x_BTD).chunk(3, dim=-1)
        bound_D = torch.sigmoid(self.bound_D)
        key_BTD = (1 - bound_D) * torch.sigmoid(-forget_BTD)
        parts = nn.functional.silu(q_BTD), key_BTD, v_BTD, torch.log1p(-key_BTD)
        q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK = (
            rearrange(part, "b t (h k) -> b t h k", h=self.num_heads) for part in parts
        )
        o_BTHV, memory_BHKV = gla(
            q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK, scale=1.0, initial_state=state.get("memory")
        )
        y_BTD = self.out(self.norm(rearrange(o_BTHV, "b t h v -> b t (h v)")))
        return y_BTD, {"memory": memory_BHKV}
