"""ContentSharpRouter: a softmax over four paths that looks at the paths themselves, sharpened a head at a time.

Short filter, long filter, delta rule and the values themselves are mixed by weights that one MLP, shared by the heads,
computes from the token and from the mean and the deviation of each path's channels. Every head multiplies its logits
by a factor of its own, tau_h = softplus(a_h) + 1e-4, which starts at 1.5 and can sharpen the choice.

Source: Liu et al. 2025, arXiv 2507.18074, section 4.2, and the released program (experiment 703, `delta_net_csm`).
As released (`SPARE_SLOTS`): the MLP's last layer emits 4 H logits for every head, the softmax runs over all of them
and only the first four weigh a path; the other 4 H - 4 share in the denominator, and the norm that follows cancels
what they take. Repaired: four logits a head. Inferred: the value slots, whose logits start at 2, are every fourth;
deviations carry an epsilon under the root, since silence would have an infinite gradient. Left out: the entropy
term, which the original returns where nothing reads it (and whose sign would lower the entropy).

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved channels, W
taps, P paths, N router inputs, S router slots.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from asiarc.kernels.delta_rule import delta_rule
from asiarc.kernels.fir import fir
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
SHORT_TAPS = 3
LONG_TAPS = 25
PATHS = 4
SPARE_SLOTS = True
SHARPNESS = 1.5


def impulse(channels: int, taps: int) -> Tensor:
    """A filter that passes the present token on, plus a little noise: its path starts as the identity."""
    weight_DW = 0.02 * torch.randn(channels, taps)
    weight_DW[:, -1] += 1
    return weight_DW


class Mixer(nn.Module):
    """o = sum_p softmax(tau_h MLP([x; mean and deviation of the paths]))_p path_p, then RMSNorm a head."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        self.short_DW = nn.Parameter(impulse(d_model, SHORT_TAPS))
        self.long_DW = nn.Parameter(impulse(d_model, LONG_TAPS))
        self.hidden = nn.Linear(d_model, d_model // 2)
        slots = PATHS * num_heads if SPARE_SLOTS else PATHS
        self.router = nn.Linear(d_model // 2 + 2 * PATHS, slots)
        nn.init.zeros_(self.router.bias)
        nn.init.constant_(self.router.bias[PATHS - 1 :: PATHS], 2.0)
        self.sharpness_H1 = nn.Parameter(torch.full((num_heads, 1), math.log(math.expm1(SHARPNESS))))
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
        moments_BTHN = torch.cat((paths_BTHPV.mean(-1), (paths_BTHPV.var(-1) + 1e-6).sqrt()), dim=-1)
        hidden_BTHN = silu(self.hidden(x_BTD))[:, :, None].expand(-1, -1, self.num_heads, -1)
        logits_BTHS = self.router(torch.cat((hidden_BTHN, moments_BTHN), dim=-1))
        sharp_BTHS = logits_BTHS * (softplus(self.sharpness_H1) + 1e-4)
        weights_BTHP = torch.softmax(sharp_BTHS, dim=-1)[..., :PATHS]
        o_BTHV = (weights_BTHP[..., None] * paths_BTHPV).sum(dim=-2)
        y_BTD = self.out(rearrange(self.norm(o_BTHV), "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "memory": memory_BHKV, "short": short_state, "long": long_state}
