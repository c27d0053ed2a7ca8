"""Forgetting attention (FoX): softmax attention whose scores fade with every token that chooses to forget.

o_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(K) + sum_{s < j <= t} log f_j) v_s with one gate f_j in (0, 1) a head and
token. The fading says how far a token is, so that no position is encoded. As the state of softmax attention, this one
grows with the text: it is exempt from the gates of cost and never a parent.

Source: Lin, Nikishin, He, Courville 2025, arXiv 2503.02130, eq. 2 to 5 and the Pro block of sec. 3.3 (keys and values
mixed with those of the token before in a proportion that the token chooses, RMSNorm a head on queries, keys and
outputs, sigmoid output gate).
Differs from the paper: in nothing but sizes.

Axes: B batch, T time, S past and present time, D width, H heads, K width of a head (D / H), E that and two
channels (K + 2).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad, rms_norm, scaled_dot_product_attention

State = dict[str, Tensor]


def forgetting_attention(q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, faded_BHS: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(K) + faded_t - faded_s) v, where `faded_BHS` sums log f; queries are the last T tokens.

    Two channels more carry the sums, so that no matrix of fading is made, and no gradient of one.
    """
    dtype = torch.promote_types(q_BHTK.dtype, torch.float32)
    tokens, keys, width = q_BHTK.shape[2], k_BHSK.shape[2], q_BHTK.shape[3]
    faded_BHS1 = faded_BHS[..., None].to(dtype)
    one_BHS1 = torch.ones_like(faded_BHS1)
    q_BHTE = torch.cat((q_BHTK * width**-0.5, faded_BHS1[:, :, -tokens:], one_BHS1[:, :, -tokens:]), dim=-1)
    k_BHSE = torch.cat((k_BHSK, one_BHS1, -faded_BHS1), dim=-1)
    seen_TS = torch.ones(tokens, keys, dtype=torch.bool, device=q_BHTK.device).tril(keys - tokens)
    v_BHSE = pad(v_BHSK, (0, 2)).to(dtype)
    o_BHTE = scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, attn_mask=seen_TS, scale=1.0)
    return o_BHTE[..., :width].to(v_BHSK.dtype)


class Mixer(nn.Module):
    """softmax(q k^T / sqrt(K) + fading) v over the past, normed a head, sigmoid-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.kv = nn.Linear(d_model, 2 * d_model, bias=False)
        self.shift = nn.Linear(d_model, 2 * num_heads, bias=False)
        self.forget = nn.Linear(d_model, num_heads)
        self.q_norm_HK = nn.Parameter(torch.ones(num_heads, head_dim))
        self.k_norm_HK = nn.Parameter(torch.ones(num_heads, head_dim))
        self.norm_HK = nn.Parameter(torch.ones(num_heads, head_dim))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is all keys and values so far, the sums of log f [B, H, S], and the last inputs of the shift."""
        k_BTHK, v_BTHK, last_B12D = self._shifted(x_BTD, state)
        q_BTHK = self._normed(rearrange(self.q(x_BTD), "b t (h k) -> b t h k", h=self.num_heads), self.q_norm_HK)
        k_BTHK = self._normed(k_BTHK, self.k_norm_HK)
        q_BHTK, k_BHSK, v_BHSK = (part.transpose(1, 2) for part in (q_BTHK, k_BTHK, v_BTHK))
        # Float64: differences of long sums have to be as exact as their terms.
        faded_BHS = logsigmoid(self.forget(x_BTD).double()).cumsum(1).mT
        if state:
            k_BHSK = torch.cat((state["keys"], k_BHSK), dim=2)
            v_BHSK = torch.cat((state["values"], v_BHSK), dim=2)
            faded_BHS = torch.cat((state["faded"], state["faded"][..., -1:] + faded_BHS), dim=2)
        o_BHTK = forgetting_attention(q_BHTK, k_BHSK, v_BHSK, faded_BHS)
        o_BTHK = self._normed(o_BHTK.transpose(1, 2), self.norm_HK)
        gate_BTD = torch.sigmoid(self.gate(x_BTD))
        y_BTD = self.out(rearrange(o_BTHK, "b t h k -> b t (h k)") * gate_BTD)
        return y_BTD, {"keys": k_BHSK, "values": v_BHSK, "faded": faded_BHS, "last": last_B12D}

    def _shifted(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values [B, T, H, K], each mixed with that of the token before; and the last before mixing."""
        kv_BTC = self.kv(x_BTD)
        before_B1C = state["last"] if state else torch.zeros_like(kv_BTC[:, :1])
        before_BTC = torch.cat((before_B1C, kv_BTC[:, :-1]), dim=1)
        heads = 2 * self.num_heads
        kv_BTGK, before_BTGK = (rearrange(x, "b t (g k) -> b t g k", g=heads) for x in (kv_BTC, before_BTC))
        share_BTG1 = torch.sigmoid(self.shift(x_BTD))[..., None]
        k_BTHK, v_BTHK = (share_BTG1 * before_BTGK + (1 - share_BTG1) * kv_BTGK).chunk(2, dim=2)
        return k_BTHK, v_BTHK, kv_BTC[:, -1:]

    @staticmethod
    def _normed(x_BTHK: Tensor, weight_HK: Tensor) -> Tensor:
        return rms_norm(x_BTHK, x_BTHK.shape[-1:], eps=1e-6) * weight_HK
