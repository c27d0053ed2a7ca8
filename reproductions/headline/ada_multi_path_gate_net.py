"""AdaMultiPathGateNet: one gate for every path and token, whose logits sum a global, a head's and a token's term.

p = (1 - P eps) softmax((a_p + b_hp + x w_hp) / tau_h) + eps over short filter, long filter, delta rule and values;
a small floor keeps every path alive, and a persistent entropy penalty is meant to keep all of them in use.

Source: Liu et al. 2025, arXiv 2507.18074, section 4.2 (probably experiment 827, `delta_net_balanced_sparse_gate`).
No program was released: built from the text and the nearest released relatives, experiments 902, 927 and 843.
Inferred: everything below the text's level. tau_h = softplus(a_h) + 0.5 (902), eps = 0.02, filters of 3 and 31 taps
that start as the identity. As its relatives have it (`ENTROPY = 0`): the penalty is returned where nothing reads
it, so no part of the loss knows of it. Repaired (0.02): it reaches the loss, - ENTROPY times the mean entropy of
the gates over the tokens that the loss looks at, through the backward pass, since a mixer has no other way to the
loss. A negative weight punishes entropy.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved channels, W
taps, P paths.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.delta_rule import delta_rule
from asiarc.kernels.fir import fir
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
SHORT_TAPS = 3
LONG_TAPS = 31
PATHS = 4
FLOOR = 0.02
ENTROPY = 0.0


class Rewarded(torch.autograd.Function):
    """y as it is; its backward pass adds the gradient of - ENTROPY x mean entropy over the tokens with a gradient.

    A token whose output no loss depends on adds nothing, or the loss of the past would reach into the future.
    """

    @staticmethod
    def forward(ctx: object, y_BTD: Tensor, entropy_BT: Tensor) -> Tensor:
        """y."""
        return y_BTD.clone()

    @staticmethod
    def backward(ctx: object, dy_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """dy, and the pull on each token's entropy."""
        asked_BT = (dy_BTD != 0).any(-1).to(dy_BTD.dtype)
        return dy_BTD, -ENTROPY * asked_BT / asked_BT.sum().clamp(min=1)


def impulse(channels: int, taps: int) -> Tensor:
    """A filter that passes the present token on, plus a little noise: its path starts as the identity."""
    weight_DW = 0.02 * torch.randn(channels, taps)
    weight_DW[:, -1] += 1
    return weight_DW


class Mixer(nn.Module):
    """o = sum_p p path_p over a softmax with a floor, then RMSNorm a head."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        self.short_DW = nn.Parameter(impulse(d_model, SHORT_TAPS))
        self.long_DW = nn.Parameter(impulse(d_model, LONG_TAPS))
        self.router = nn.Linear(d_model, PATHS * num_heads, bias=False)
        self.global_bias_P = nn.Parameter(torch.zeros(PATHS))
        self.head_bias_HP = nn.Parameter(torch.zeros(num_heads, PATHS))
        self.temperature_H1 = nn.Parameter(torch.zeros(num_heads, 1))
        self.norm = nn.RMSNorm(d_model // num_heads, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the last inputs of the three filters."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        recalled_BTHV, memory_BHKV = delta_rule(
            l2_norm(q_BTHK), l2_norm(k_BTHK), v_BTHV, torch.sigmoid(self.beta(x_BTD)),
            scale=1.0, initial_state=state.get("memory"),
        )  # fmt: skip
        values_BTD = rearrange(v_BTHV, "b t h v -> b t (h v)")
        short_BTD, short_state = short_convolution(values_BTD, self.short_DW, initial_state=state.get("short"))
        long_BTD, long_state = fir(values_BTD, self.long_DW, initial_state=state.get("long"))
        short_BTHV, long_BTHV = (
            rearrange(path_BTD, "b t (h v) -> b t h v", h=self.num_heads) for path_BTD in (short_BTD, long_BTD)
        )
        paths_BTHPV = torch.stack((short_BTHV, long_BTHV, recalled_BTHV, v_BTHV), dim=-2)
        logits_BTHP = rearrange(self.router(x_BTD), "b t (h p) -> b t h p", h=self.num_heads)
        logits_BTHP = logits_BTHP + self.global_bias_P + self.head_bias_HP
        soft_BTHP = torch.softmax(logits_BTHP / (softplus(self.temperature_H1) + 0.5), dim=-1)
        weights_BTHP = (1 - PATHS * FLOOR) * soft_BTHP + FLOOR
        o_BTHV = (weights_BTHP[..., None] * paths_BTHPV).sum(dim=-2)
        y_BTD = self.out(rearrange(self.norm(o_BTHV), "b t h v -> b t (h v)"))
        if ENTROPY:
            entropy_BTH = -(weights_BTHP * weights_BTHP.log()).sum(-1)
            y_BTD = Rewarded.apply(y_BTD, entropy_BTH.mean(-1))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV, "short": short_state, "long": long_state}
