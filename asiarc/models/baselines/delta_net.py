"""DeltaNet: a memory that corrects what a key holds instead of adding to it.

S_t = S_{t-1} + beta_t k_t (v_t - k_t S_{t-1})^T: one step of online regression of v_t on k_t. What was bound
to k_t is overwritten in proportion to beta_t, everything orthogonal to k_t stays, and nothing else is ever
forgotten.

Source: Yang et al. 2024, arXiv 2406.06484, eq. 3 to 5 and sec. 3.4 (short convolution of 4, SiLU,
L2-normalised queries and keys, RMSNorm before the output projection); the rule is from Schlag et al. 2021,
arXiv 2102.11174, eqs. 24-26.
Differs from the paper: in nothing but sizes.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved
channels, W taps.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from asiarc.kernels.delta_rule import delta_rule
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4


class Mixer(nn.Module):
    """S_t = S_{t-1} + beta_t k_t (v_t - k_t S_{t-1})^T, read by q_t, then RMSNorm a head."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        self.norm = nn.RMSNorm(head_dim, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the last inputs of the convolution [B, C, W - 1]."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        q_BTHK, k_BTHK = l2_norm(q_BTHK), l2_norm(k_BTHK)
        beta_BTH = torch.sigmoid(self.beta(x_BTD))
        o_BTHV, memory_BHKV = delta_rule(
            q_BTHK, k_BTHK, v_BTHV, beta_BTH, scale=1.0, initial_state=state.get("memory")
        )
        o_BTHV = self.norm(o_BTHV)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV}
