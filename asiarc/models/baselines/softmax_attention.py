"""Causal softmax attention: the quadratic reference, which keeps every key and value.

o_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(K)) v_s. Its state grows with the text, so it is exempt from the
complexity gate and never a parent; it shows what a mixer with a state of fixed size gives up.

Source: Vaswani et al. 2017, arXiv 1706.03762, eq. 1; rotary positions from Su et al. 2021, arXiv 2104.09864,
eq. 34.
Differs from the papers: a causal convolution of 4 with SiLU on queries, keys and values (compare Primer, So
et al. 2021, arXiv 2109.08668, sec. 4.2), as in the linear mixers, so that the comparison is one of memories
and not of local features.

Axes: B batch, T time, S past and present time, D width, H heads, K width of a head (D / H), F rotary
frequencies (K / 2), C convolved channels, W taps.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4


def rotate(x_BHTK: Tensor, position_T: Tensor) -> Tensor:
    """Turn the pairs (i, i + K / 2) by the angle position * 10000^(-2 i / K) (arXiv 2104.09864, eq. 34)."""
    half = x_BHTK.shape[-1] // 2
    rate_F = 10_000.0 ** -(torch.arange(half, device=x_BHTK.device, dtype=torch.float64) / half)
    angle_TF = position_T[:, None] * rate_F
    cos, sin = angle_TF.cos().to(x_BHTK.dtype), angle_TF.sin().to(x_BHTK.dtype)
    first, second = x_BHTK.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Mixer(nn.Module):
    """softmax(q k^T / sqrt(K)) v over the past, with rotary positions."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(3 * d_model, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is all keys and values so far and the last inputs of the convolution [B, C, W - 1]."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BHTK = rearrange(qkv_BTC, "b t (n h k) -> n b h t k", n=3, h=self.num_heads)
        q_BHTK, k_BHSK, v_BHSK = qkv_3BHTK.unbind()
        past = state["keys"].shape[2] if state else 0
        position_T = past + torch.arange(x_BTD.shape[1], device=x_BTD.device)
        q_BHTK, k_BHSK = rotate(q_BHTK, position_T), rotate(k_BHSK, position_T)
        if state:
            k_BHSK = torch.cat((state["keys"], k_BHSK), dim=2)
            v_BHSK = torch.cat((state["values"], v_BHSK), dim=2)
        visible_TS = torch.arange(k_BHSK.shape[2], device=x_BTD.device) <= position_T[:, None]
        o_BHTK = scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=visible_TS)
        y_BTD = self.out(rearrange(o_BHTK, "b h t k -> b t (h k)"))
        return y_BTD, {"keys": k_BHSK, "values": v_BHSK, "conv": conv_state}
