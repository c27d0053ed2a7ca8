"""RetNet: linear attention whose past fades at a fixed rate, a different one for each head.

S_t = gamma_h S_{t-1} + k_t v_t^T with gamma_h = 1 - 2^(-5-h): early heads see the near past, late heads the
far one. Queries and keys turn with their position (rotary embedding), so that what is read depends on
distance. The decay is the same for every token: the mixer cannot choose what to forget.

Source: Sun et al. 2023, arXiv 2307.08621, eqs. 5-8 (retention, its recurrent form, gated multi-scale
retention).
Differs from the paper: the value width of a head equals its key width (there twice), so that states are of
equal size across baselines; the group norm is an RMSNorm a head.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), F rotary
frequencies (K / 2).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.retention import retention

State = dict[str, Tensor]


def rotate(x_BTHK: Tensor, position_BT: Tensor) -> Tensor:
    """Turn the pairs (i, i + K / 2) by the angle position * 10000^(-2 i / K) (arXiv 2104.09864, eq. 34)."""
    half = x_BTHK.shape[-1] // 2
    rate_F = 10_000.0 ** -(torch.arange(half, device=x_BTHK.device, dtype=torch.float64) / half)
    angle_BT1F = position_BT[..., None, None] * rate_F
    cos, sin = angle_BT1F.cos().to(x_BTHK.dtype), angle_BT1F.sin().to(x_BTHK.dtype)
    first, second = x_BTHK.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Mixer(nn.Module):
    """S_t = gamma_h S_{t-1} + k_t v_t^T with rotated queries and keys, normed a head, SiLU-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm_weight_V = nn.Parameter(torch.ones(head_dim))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the position of the next token [B]."""
        state = state or {"position": x_BTD.new_zeros(x_BTD.shape[0], dtype=torch.long)}
        position_BT = state["position"][:, None] + torch.arange(x_BTD.shape[1], device=x_BTD.device)
        qkv_3BTHK = rearrange(self.qkv(x_BTD), "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        q_BTHK = rotate(q_BTHK, position_BT)
        k_BTHK = rotate(k_BTHK, position_BT)
        o_BTHV, memory_BHKV = retention(q_BTHK, k_BTHK, v_BTHV, initial_state=state.get("memory"))
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"position": position_BT[:, -1] + 1, "memory": memory_BHKV}
