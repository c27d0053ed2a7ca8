"""Log-linear Gated DeltaNet: a memory for the last token, for the two before, the four before them, and so on.

o_t = sum_l lambda_t^(l) S_t^(l)^T q_t: the past is cut as a Fenwick tree cuts it, into stretches that double in
length; each has a memory of its own under the gated delta rule, and the token chooses how much it reads of each. The
near past is held finely and the far past coarsely, where one memory has to hold both.

Source: Guo et al. 2025, arXiv 2506.04761, sec. 3.1 (levels: token s is at the level of t that is the highest bit in
which their positions differ), eq. 4 and sec. 3.3 (with the delta rule; lambda = softplus of a projection, times a
learned scale, as in FLA's layer); gates, convolution and norms are Gated DeltaNet's, arXiv 2412.06464.
Differs from the paper: the number of levels is fixed (12, or as many memories as the inputs of 1,024 tokens fill), and
the last level holds all that is older, so that the state does not grow with the text; softer gates at the start, as in
gated_delta_net.

How it is computed: under the delta rule a write of zero only erases, so that the memory of level l is that of a gated
delta rule which is cleared where a block of 2^l tokens begins and written in the block's first half; the second half
reads it. The last level is what a memory of everything holds beyond the others. All memories are heads of one call,
but for whole blocks of 64 tokens at the beginning of a text: there the levels within a block are one matrix, and
memories go from block to block.

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
NEAR = 6  # levels within a block, which are computed as one matrix where a text begins
BLOCK = 2**NEAR


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
    """o [B, T, H, V] and the memories [B, H, M, K, V] after the last token; without memories, a text begins."""
    given = q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, weight_BTHL
    tokens = q_BTHK.shape[1]
    whole = 0 if memory_BHMKV is not None else tokens - tokens % BLOCK
    if not whole:
        return by_levels(position_BT, memory_BHMKV, *given)
    o_BTHV, memory_BHMKV = by_blocks(*(part[:, :whole] for part in given))
    if whole == tokens:
        return o_BTHV, memory_BHMKV
    rest = (part[:, whole:] for part in given)
    rest_BTHV, memory_BHMKV = by_levels(position_BT[:, whole:], memory_BHMKV, *rest)
    return torch.cat((o_BTHV, rest_BTHV), dim=1), memory_BHMKV


def schedule(position: Tensor, near: int, used: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whether the memories of the levels near + 1 to `used`, and that of everything, are cleared, written, read."""
    level_N = torch.arange(near + 1, used + 1, device=position.device)
    place = position[..., None] % 2**level_N
    second = place >= 2 ** (level_N - 1)
    return pad(place == 0, (0, 1), value=False), pad(~second, (0, 1), value=True), pad(second, (0, 1), value=True)


def split_weights(weight_L: Tensor, near: int, used: int) -> tuple[Tensor, Tensor]:
    """How much more a level weighs than the last, as part of which everything is read; and the weights of memories."""
    last_1 = weight_L[..., -1:]
    more_L = weight_L - last_1
    return more_L, torch.cat((more_L[..., near + 1 : used + 1], last_1), dim=-1)


def all_memories(memory_BHMKV: Tensor, near: int, levels: int) -> Tensor:
    """With those up to `near`, which are cleared next, and those of blocks in whose first half the text ends."""
    *far, everything_BHKV = memory_BHMKV.unbind(2)
    beyond = levels - near - len(far)
    kept = [torch.zeros_like(everything_BHKV)] * near + far + [everything_BHKV] * (beyond + 1)
    return torch.stack(kept, dim=2)


def by_levels(
    position_BT: Tensor,
    memory_BHMKV: Tensor | None,
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    weight_BTHL: Tensor,
) -> tuple[Tensor, Tensor]:
    """As `log_linear`, from any position on: all memories are heads of one gated delta rule."""
    tokens, levels = q_BTHK.shape[1], weight_BTHL.shape[-1] - 2
    used = levels if memory_BHMKV is not None else min(levels, (tokens - 1).bit_length())
    cleared_BTM, writes_BTM, reads_BTM = schedule(position_BT, 0, used)
    v_BTHMV = torch.where(writes_BTM[:, :, None, :, None], v_BTHV[..., None, :], 0)
    decay_BTHM = torch.where(cleared_BTM[:, :, None], -torch.inf, log_decay_BTH[..., None])
    o_BTGV, memory_BGKV = gated_delta_rule(
        q_BTHK, k_BTHK,
        v_BTHMV.flatten(2, 3), decay_BTHM.flatten(2, 3), repeat(beta_BTH, "b t h -> b t (h m)", m=used + 1),
        scale=1.0, initial_state=None if memory_BHMKV is None else memory_BHMKV.flatten(1, 2),
    )  # fmt: skip
    more_BTHL, of_memory_BTHM = split_weights(weight_BTHL, 0, used)
    of_memory_BTHM = of_memory_BTHM * reads_BTM[:, :, None]
    own_BTH = more_BTHL[..., 0] * beta_BTH * (q_BTHK * k_BTHK).sum(-1)
    o_BTHV = (of_memory_BTHM[..., None] * o_BTGV.unflatten(2, (-1, used + 1))).sum(-2) + own_BTH[..., None] * v_BTHV
    return o_BTHV, all_memories(memory_BGKV.unflatten(1, (-1, used + 1)), 0, levels)


def by_blocks(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_decay_BTH: Tensor, beta_BTH: Tensor, weight_BTHL: Tensor
) -> tuple[Tensor, Tensor]:
    """As `log_linear`, of whole blocks from the beginning of a text: a matrix each, and memories between them."""
    levels, tokens = weight_BTHL.shape[-1] - 2, q_BTHK.shape[1]
    near, used = min(NEAR, levels), min(levels, (tokens - 1).bit_length())
    dtype = torch.promote_types(v_BTHV.dtype, torch.float32)
    q_BNHCK, k_BNHCK, v_BNHCV, written_BNHCK, weight_BNHCL = (
        rearrange(x.to(dtype), "b (n c) h k -> b n h c k", c=BLOCK)
        for x in (q_BTHK, k_BTHK, v_BTHV, beta_BTH[..., None] * k_BTHK, weight_BTHL)
    )
    log_decay_BNHC = rearrange(log_decay_BTH.double(), "b (n c) h -> b n h c", c=BLOCK)
    own_BNHCC, reads_BNHCK, kept_BNHKK, writes_BNHKC = block_maps(q_BNHCK, k_BNHCK, written_BNHCK, log_decay_BNHC)
    first_N = torch.arange(0, tokens, BLOCK, device=v_BTHV.device)
    starts_BNHMKV, memory_BHMKV = over_blocks(kept_BNHKK, writes_BNHKC @ v_BNHCV, schedule(first_N, near, used))
    _, of_memory_BNHCM = split_weights(weight_BNHCL, near, used)
    of_memory_BNHMCV = reads_BNHCK[:, :, :, None] @ starts_BNHMKV * of_memory_BNHCM.mT[..., None]
    o_BNHCV = (own_BNHCC * of_pairs(weight_BNHCL)) @ v_BNHCV + of_memory_BNHMCV.sum(3)
    o_BTHV = rearrange(o_BNHCV, "b n h c v -> b (n c) h v").to(v_BTHV.dtype)
    return o_BTHV, all_memories(memory_BHMKV, near, levels)


def block_maps(
    q_BNHCK: Tensor, k_BNHCK: Tensor, written_BNHCK: Tensor, log_decay_BNHC: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a block's tokens read of its values and of the memory before it; what it keeps of that, and adds of values.

    With X(a)_ij = a_i . (beta_j k_j) exp(g_{j+1} + ... + g_i) for i >= j, `into` the decay since the block's start,
    `out` that to its end, and P = (I + strict(X(k)))^-1, these are X(q) P, into q - X(q) P into k,
    exp(sum g) I - (out beta k)^T P into k and (out beta k)^T P.
    """
    faded_BNHC = log_decay_BNHC.cumsum(-1)
    block, width = q_BNHCK.shape[-2:]
    ahead_CC = torch.ones(block, block, dtype=torch.bool, device=q_BNHCK.device).triu(1)
    between_BNHCC = (faded_BNHC[..., None] - faded_BNHC[..., None, :]).masked_fill(ahead_CC, -torch.inf).exp()
    between_BNHCC, into_BNHC1 = between_BNHCC.to(q_BNHCK.dtype), faded_BNHC.exp().to(q_BNHCK.dtype)[..., None]
    out_BNH1C = between_BNHCC[..., -1:, :]
    of_queries_BNHCC, of_keys_BNHCC = (a @ written_BNHCK.mT * between_BNHCC for a in (q_BNHCK, k_BNHCK))
    rows = torch.cat((of_queries_BNHCC, out_BNH1C * written_BNHCK.mT), dim=-2)
    solved = torch.linalg.solve_triangular(of_keys_BNHCC, rows, upper=False, left=False, unitriangular=True)
    own_BNHCC, writes_BNHKC = solved.split((block, width), dim=-2)
    keys_BNHCK = into_BNHC1 * k_BNHCK
    over_BNHKK = into_BNHC1[..., -1:, :] * torch.eye(width, dtype=q_BNHCK.dtype, device=q_BNHCK.device)
    reads_BNHCK = into_BNHC1 * q_BNHCK - own_BNHCC @ keys_BNHCK
    return own_BNHCC, reads_BNHCK, over_BNHKK - writes_BNHKC @ keys_BNHCK, writes_BNHKC


def over_blocks(
    kept_BNHKK: Tensor, added_BNHKV: Tensor, masks: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The memories before each block, zero where they are not read, and after the last; masks [N, M] of `schedule`."""
    cleared_NM11, written_NM11, read_NM11 = (mask[..., None, None] for mask in masks)
    batch, _, heads, width, _ = kept_BNHKK.shape
    memory_BHMKV = added_BNHKV.new_zeros(batch, heads, cleared_NM11.shape[1], width, added_BNHKV.shape[-1])
    starts = []
    for n, (kept_BHKK, added_BHKV) in enumerate(zip(kept_BNHKK.unbind(1), added_BNHKV.unbind(1), strict=True)):
        memory_BHMKV = memory_BHMKV.masked_fill(cleared_NM11[n], 0)
        starts.append(memory_BHMKV * read_NM11[n])
        memory_BHMKV = kept_BHKK[:, :, None] @ memory_BHMKV + written_NM11[n] * added_BHKV[:, :, None]
    return torch.stack(starts, dim=1), memory_BHMKV


def of_pairs(weight_BNHCL: Tensor) -> Tensor:
    """The weight with which token i of a block reads token j: that of the highest bit in which their places differ."""
    block, levels = weight_BNHCL.shape[-2:]
    at = torch.arange(block, device=weight_BNHCL.device)
    bits = 2 ** torch.arange(NEAR, device=weight_BNHCL.device)
    level_CC = (torch.bitwise_xor(at[:, None], at)[..., None] >= bits).sum(-1).clamp(max=levels - 1)
    return weight_BNHCL.gather(-1, level_CC.expand(*weight_BNHCL.shape[:-1], -1))


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
