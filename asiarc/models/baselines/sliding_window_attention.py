"""Sliding-window attention: softmax attention to the last 64 tokens, exact where it sees and blind beyond.

o_t = sum_{t - W < s <= t} softmax_s(q_t . k_s / sqrt(K)) v_s with W = 64. Its state holds the last W - 1 keys and
values, so that it costs what a linear mixer costs; what reaches farther than W tokens has to go through the layers
above.

Source: Beltagy, Peters, Cohan 2020, Longformer, arXiv 2004.05150, sec. 3.1, causal as in Child et al. 2019, arXiv
1904.10509; rotary positions from Su et al. 2021, arXiv 2104.09864, eq. 34.
Differs from the papers: neither dilated nor with global tokens; a causal convolution of 4 with SiLU on queries, keys
and values, as softmax_attention has it, so that the two differ in the window alone.

Axes: B batch, T time, D width, H heads, K width of a head (D / H), F rotary frequencies (K / 2), N blocks of L
queries, S keys that a block may see (W - 1 + L), C convolved channels, W taps of the convolution.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
WINDOW = 64
PAST = WINDOW - 1


def rotate(x_BHTK: Tensor, position_BT: Tensor) -> Tensor:
    """Turn the pairs (i, i + K / 2) by the angle position * 10000^(-2 i / K) (arXiv 2104.09864, eq. 34)."""
    half = x_BHTK.shape[-1] // 2
    rate_F = 10_000.0 ** -(torch.arange(half, device=x_BHTK.device, dtype=torch.float64) / half)
    angle_B1TF = position_BT[:, None, :, None] * rate_F
    cos, sin = angle_B1TF.cos().to(x_BHTK.dtype), angle_B1TF.sin().to(x_BHTK.dtype)
    first, second = x_BHTK.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def window_attention(q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, position_B: Tensor) -> Tensor:
    """Attention of each query to itself and the `PAST` tokens before it; keys begin `PAST` before the queries.

    Queries are taken in blocks of L, whose keys overlap. Keys before position 0 of the text are not seen:
    `position_B` is that of the first query.
    """
    tokens = q_BHTK.shape[2]
    block = min(tokens, WINDOW)
    filled = -tokens % block
    q_BNHLK = rearrange(pad(q_BHTK, (0, 0, 0, filled)), "b h (n l) k -> b n h l k", l=block)
    k_BNHSK, v_BNHSK = (
        rearrange(pad(x, (0, 0, 0, filled)).unfold(2, PAST + block, block), "b h n k s -> b n h s k")
        for x in (k_BHSK, v_BHSK)
    )
    at = torch.arange(PAST + block, device=q_BHTK.device)
    after_LS = at - at[:block, None]  # the key's place in the query's window
    in_window_LS = (after_LS >= 0) & (after_LS <= PAST)
    first_N = block * torch.arange(q_BNHLK.shape[1], device=q_BHTK.device)
    in_text_BNS = position_B[:, None, None] + first_N[:, None] + at >= PAST
    seen_BN1LS = (in_window_LS & in_text_BNS[:, :, None])[:, :, None]
    o_BNHLK = scaled_dot_product_attention(q_BNHLK, k_BNHSK, v_BNHSK, attn_mask=seen_BN1LS)
    return rearrange(o_BNHLK, "b n h l k -> b h (n l) k")[:, :, :tokens]


class Mixer(nn.Module):
    """softmax(q k^T / sqrt(K)) v over the last `WINDOW` tokens, with rotary positions."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(3 * d_model, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state: the last keys and values [B, H, PAST, K], the next position [B], the convolution's inputs."""
        batch, tokens, width = x_BTD.shape
        if state is None:
            empty = x_BTD.new_zeros(batch, self.num_heads, PAST, width // self.num_heads)
            state = {"keys": empty, "values": empty, "position": x_BTD.new_zeros(batch, dtype=torch.long)}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BHTK = rearrange(qkv_BTC, "b t (n h k) -> n b h t k", n=3, h=self.num_heads)
        q_BHTK, k_BHTK, v_BHTK = qkv_3BHTK.unbind()
        position_BT = state["position"][:, None] + torch.arange(tokens, device=x_BTD.device)
        q_BHTK, k_BHTK = rotate(q_BHTK, position_BT), rotate(k_BHTK, position_BT)
        k_BHSK = torch.cat((state["keys"], k_BHTK), dim=2)
        v_BHSK = torch.cat((state["values"], v_BHTK), dim=2)
        o_BHTK = window_attention(q_BHTK, k_BHSK, v_BHSK, state["position"])
        y_BTD = self.out(rearrange(o_BHTK, "b h t k -> b t (h k)"))
        return y_BTD, {
            "keys": k_BHSK[:, :, -PAST:],
            "values": v_BHSK[:, :, -PAST:],
            "position": position_BT[:, -1] + 1,
            "conv": conv_state,
        }
