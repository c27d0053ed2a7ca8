"""Log-linear Gated DeltaNet: a memory for the last token, for the two before, the four before them, and so on.

o_t = sum_l lambda_t^(l) S_t^(l)^T q_t: the past is cut as a Fenwick tree cuts it, into stretches that double in
length; each has a memory of its own under the gated delta rule, and the token chooses how much it reads of each. The
near past is held finely and the far past coarsely, where one memory has to hold both.

Source: Guo et al. 2025, arXiv 2506.04761, sec. 3.1 (levels: token s is at the level of t that is the highest bit in
which their positions differ), eq. 4 and sec. 3.3 (with the delta rule; lambda = softplus of a projection, times a
learned scale, as in FLA's layer); gates, convolution and norms are Gated DeltaNet's, arXiv 2412.06464.
Differs from the paper: the number of levels is fixed (12, or as many memories as the inputs of 1,024 tokens fill), and
the last level holds all that is older, so that the state does not grow; softer gates at the start, as in
gated_delta_net.

How it is computed: under the delta rule a write of zero only erases, so that the memory of level l is that of a gated
delta rule which is cleared where a block of 2^l tokens begins and written in the block's first half; the second half
reads it. All levels are heads of one call. The last level is what a memory of everything holds beyond the others.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), L levels, M memories
(levels 1 to L - 2, then that of everything), C convolved channels, W taps.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
LEVELS = 12
WIDEST_STATE = 1000  # key channels of all memories of a head


def log_linear(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    weight_BTHL: Tensor,
    position_BT: Tensor,
    memory_BHMKV: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """o [B, T, H, V] and the memories [B, H, M, K, V] after the last token; without memories, positions begin at 0."""
    tokens, blocks = q_BTHK.shape[1], weight_BTHL.shape[-1] - 2
    used = blocks if memory_BHMKV is not None else min(blocks, (tokens - 1).bit_length())
    level_N = torch.arange(1, used + 1, device=q_BTHK.device)
    place_BTN = position_BT[..., None] % 2**level_N
    second_BTN = place_BTN >= 2 ** (level_N - 1)
    writes_BT1M1 = pad(~second_BTN, (0, 1), value=True)[:, :, None, :, None]
    cleared_BT1M = pad(place_BTN == 0, (0, 1), value=False)[:, :, None]
    v_BTHMV = torch.where(writes_BT1M1, v_BTHV[..., None, :], 0)
    decay_BTHM = torch.where(cleared_BT1M, -torch.inf, log_decay_BTH[..., None])
    o_BTGV, memory_BGKV = gated_delta_rule(
        q_BTHK, k_BTHK,
        v_BTHMV.flatten(2, 3), decay_BTHM.flatten(2, 3), repeat(beta_BTH, "b t h -> b t (h m)", m=used + 1),
        scale=1.0, initial_state=None if memory_BHMKV is None else memory_BHMKV.flatten(1, 2),
    )  # fmt: skip
    o_BTHMV = o_BTGV.unflatten(2, (-1, used + 1))
    more_BTHL = weight_BTHL - weight_BTHL[..., -1:]  # than of the last level, as part of which everything is read
    of_blocks_BTHN = torch.where(second_BTN[:, :, None], more_BTHL[..., 1 : used + 1], 0)
    reads_BTHM = torch.cat((of_blocks_BTHN, weight_BTHL[..., -1:]), dim=-1)
    own_BTH = more_BTHL[..., 0] * beta_BTH * (q_BTHK * k_BTHK).sum(-1)
    o_BTHV = (reads_BTHM[..., None] * o_BTHMV).sum(-2) + own_BTH[..., None] * v_BTHV
    return o_BTHV, _all_memories(memory_BGKV.unflatten(1, (-1, used + 1)), blocks - used)


def _all_memories(memory_BHMKV: Tensor, unused: int) -> Tensor:
    """With those of blocks whose first half the text has not left yet: they hold everything."""
    *_, everything_BHKV = memory_BHMKV.unbind(2)
    whole_BHMKV = everything_BHKV[:, :, None].expand(-1, -1, unused, -1, -1)
    return torch.cat((memory_BHMKV[:, :, :-1], whole_BHMKV, everything_BHKV[:, :, None]), dim=2)


class Mixer(nn.Module):
    """The gated delta rule with a memory for every level of a Fenwick tree, normed a head, SiLU-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        levels = min(LEVELS, 1 + WIDEST_STATE // head_dim)
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        self.step = nn.Linear(d_model, num_heads, bias=False)
        first_step_H = torch.exp(torch.empty(num_heads).uniform_(math.log(1e-3), math.log(0.05)))
        self.step_bias_H = nn.Parameter(first_step_H.expm1().log())
        self.log_rate_H = nn.Parameter(torch.empty(num_heads).uniform_(1, 4).log())
        self.level = nn.Linear(d_model, num_heads * levels, bias=False)
        self.level_scale_HL = nn.Parameter(torch.ones(num_heads, levels))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.norm_weight_V = nn.Parameter(torch.ones(head_dim))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state: the memories [B, H, M, K, V], the next position [B], the convolution's inputs [B, C, W - 1]."""
        state = state or {"position": x_BTD.new_zeros(x_BTD.shape[0], dtype=torch.long)}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        log_decay_BTH = -self.log_rate_H.exp() * softplus(self.step(x_BTD) + self.step_bias_H)
        level_BTHL = rearrange(self.level(x_BTD), "b t (h l) -> b t h l", h=self.num_heads)
        position_BT = state["position"][:, None] + torch.arange(x_BTD.shape[1], device=x_BTD.device)
        o_BTHV, memory_BHMKV = log_linear(
            l2_norm(q_BTHK), l2_norm(k_BTHK), v_BTHV, log_decay_BTH, torch.sigmoid(self.beta(x_BTD)),
            softplus(self.level_scale_HL * level_BTHL), position_BT, state.get("memory"),
        )  # fmt: skip
        gate_BTHV = rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"position": position_BT[:, -1] + 1, "conv": conv_state, "memory": memory_BHMKV}
