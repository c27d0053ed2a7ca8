"""The Triton kernels that all linear recurrences with a matrix state share: the algebra of `chunked`, for a GPU.

    X(a)_ij = sum_c a_ic beta_j k_jc e^{g_{j+1,c} + ... + g_{i,c}}   for i >= j, else 0
    A = (I + strict(X(k)))^-1,   y = A (v - (into * k) S)   (A = I and y = v without erasing)
    o = scale ((into * q) S + X(q) y),   S' = over * S + (out * beta * k)^T y

Six kernels: `accumulate_gate` sums the log-decays of a chunk; `scores` makes X(q) and A; `forward` walks a sequence
with its state in registers and writes the output; `backward_states` walks it in reverse for dv and the gradients of
the states; `backward_scores` and `backward_rows` do the rest for all chunks at once. No product of A and k is ever
formed.

Unusual:
- A is solved without gates and gated afterwards where the gate is a head's: (I + D B D^-1)^-1 = D (I + B)^-1 D^-1.
- A gate a channel cannot leave the sum over channels. At each level a block of rows has its anchor between its
  halves: rows right of it carry the decay since it, keys left of it the decay up to it, and one masked product of
  the whole tile gives the scores across all anchors of the level: log2(C) products and exponentials a score.
- Only exponents <= 0 are formed. Log-decays are summed in base 2, in float64 where the inputs are float32, with
  steps cut off at 2^-200, so that a hard reset (g = -inf) is an ordinary value.
- No product of two tiles is transposed to feed another: Triton before 3.7.1 gets that wrong on Hopper at width 64.

Axes: T tokens of all sequences, H key heads, HV value heads, K and V channels, C tokens a chunk, N sequences, NC
chunks. `chunks` [NC, 2] holds a chunk's first token and one past the last of its sequence, `bounds` [N, 3] a
sequence's first token, one past its last, and its first chunk. `x` are the tensors of a kernel as `TENSORS` names
them, `p` is a `blocked.Constants`, whose GATE is 0 for none, 1 a head, 2 a channel; with 2, `forward` and
`backward_states` take the decayed queries and keys of `scores`, and `keys` are those to write.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import collections
from typing import Any

import triton
import triton.language as tl
from triton.language import constexpr, tensor

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
FLOOR: tl.constexpr = tl.constexpr(-200.0)
"""Base-2 logarithm of the strongest decay of one step: 2^-200 is zero in float32."""

TENSORS: dict[str, Any] = {
    name: collections.namedtuple(name, fields)
    for name, fields in {
        "accumulate_gate": "g G",
        "scores": "q k G beta P A q_in k_in k_out",
        "forward": "q k keys v G beta P A state o final y S",
        "backward_states": "q k keys G beta P A do dfinal dv dS dstate",
        "backward_scores": "q k G beta y do dv Dq Dk dg",
        "backward_rows": "q k G beta y do dv S dS Dq Dk dq dk dg dbeta",
    }.items()
}
"""The tensors of each kernel."""


@triton.jit
def decay(x: tensor) -> tensor:
    """2^x for x <= 0 in float32; what rounding or rows outside a sequence lift above zero counts as zero."""
    return tl.exp2(tl.where(x > 0, 0.0, x).to(tl.float32))


@triton.jit
def tile(
    x: tensor, token: tensor, h: tensor, heads: tensor, D: constexpr, rows: tensor, cols: tensor, inside: tensor
) -> tensor:
    """Rows `token + rows` and channels `cols` of head h of a [T, heads, D] tensor; zero outside."""
    at = x + (token * heads + h) * D
    mask = inside[:, None] & (cols < D)[None, :]
    return tl.load(at + rows[:, None] * (heads * D) + cols[None, :], mask=mask, other=0.0)


@triton.jit
def put(
    x: tensor,
    value: tensor,
    token: tensor,
    h: tensor,
    heads: tensor,
    D: constexpr,
    rows: tensor,
    cols: tensor,
    inside: tensor,
) -> None:
    """Write what `tile` reads, in the dtype of x."""
    at = x + (token * heads + h) * D
    mask = inside[:, None] & (cols < D)[None, :]
    tl.store(at + rows[:, None] * (heads * D) + cols[None, :], value.to(x.dtype.element_ty), mask=mask)


@triton.jit
def column(x: tensor, token: tensor, h: tensor, heads: tensor, rows: tensor, inside: tensor) -> tensor:
    """Rows `token + rows` of head h of a [T, heads] tensor; zero outside."""
    return tl.load(x + token * heads + h + rows * heads, mask=inside, other=0.0)


@triton.jit
def state_tile(x: tensor, index: tensor, K: constexpr, V: constexpr, krows: tensor, vcols: tensor) -> tensor:
    """A block of matrix number `index` of a [..., K, V] tensor; zero outside."""
    at = x + index * (K * V) + krows[:, None] * V + vcols[None, :]
    return tl.load(at, mask=(krows < K)[:, None] & (vcols < V)[None, :], other=0.0)


@triton.jit
def put_state(
    x: tensor, value: tensor, index: tensor, K: constexpr, V: constexpr, krows: tensor, vcols: tensor
) -> None:
    """Write what `state_tile` reads, in the dtype of x."""
    at = x + index * (K * V) + krows[:, None] * V + vcols[None, :]
    tl.store(at, value.to(x.dtype.element_ty), mask=(krows < K)[:, None] & (vcols < V)[None, :])


@triton.jit
def across(level: tensor, at: tensor, other: tensor) -> tensor:
    """Whether `at` lies in the right half and `other` in the left half of one block of width 2 * 2^level."""
    return (at >> level == (other >> level) + 1) & ((at >> level) & 1 == 1)


@triton.jit
def within_half(level: tensor, m: tensor, at: tensor) -> tensor:
    """Whether the decay between row `at` and the anchor of its block of the level has the step of row m in it."""
    return (m >> level == at >> level) & tl.where((at >> level) & 1 == 1, at >= m, at < m)


@triton.jit
def inverse(B: tensor, C: constexpr, LEVELS: constexpr, PRECISION: constexpr) -> tensor:
    """(I + B)^-1 of a strictly lower triangular tile: [[P, 0], [Q, R]]^-1 = [[P', 0], [-R' Q P', R']].

    Blocks are merged from width 1 up; those on the diagonal up to width 16 as a batch, then the tile as a whole,
    masked. No power of B is formed, so large entries overflow no earlier than the inverse itself.
    """
    n: tl.constexpr = C // 16
    block, i = tl.arange(0, n), tl.arange(0, 16)
    diagonal = block[:, None, None, None] == block[None, None, :, None]
    small = tl.sum(tl.where(diagonal, B.reshape(n, 16, n, 16), 0.0), 2)
    X = tl.where((i[:, None] == i[None, :])[None], 1.0, tl.where(across(0, i[:, None], i[None, :])[None], -small, 0.0))
    for level in tl.static_range(1, 4):
        low = tl.where(across(level, i[:, None], i[None, :])[None], small, 0.0)
        X -= tl.dot(tl.dot(X, low, input_precision="tf32x3"), X, input_precision="tf32x3")
    whole = tl.where(diagonal, X[:, :, None, :], 0.0).reshape(C, C)
    rows = tl.arange(0, C)
    for level in tl.static_range(4, LEVELS):
        low = tl.where(across(level, rows[:, None], rows[None, :]), B, 0.0)
        whole -= tl.dot(tl.dot(whole, low, input_precision=PRECISION), whole, input_precision=PRECISION)
    return whole


@triton.jit
def level_decay(
    G: tensor, G_CK: tensor, level: tensor, token: tensor, last: tensor, h: tensor, heads: tensor,
    K: constexpr, rows: tensor, cols: tensor, inside: tensor,
) -> tensor:  # fmt: skip
    """Of each row the decay between it and the anchor of its block, which is the last row of the block's left half."""
    anchor = tl.minimum(((rows >> (level + 1)) << (level + 1)) + (1 << level) - 1, last)
    since = G_CK - tile(G, token, h, heads, K, anchor, cols, inside)
    return decay(tl.where(((rows >> level) & 1 == 1)[:, None], since, -since))


@triton.jit(do_not_specialize=["R"])
def accumulate_gate(x: tensor, chunks: tensor, R: tensor, p: constexpr) -> None:
    """G = running sum of log2 of the decay inside each chunk; g and G are [T, R], R = HV or HV * K."""
    blocks = tl.cdiv(R, p.BK)
    chunk, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    first, end = tl.load(chunks + 2 * chunk), tl.load(chunks + 2 * chunk + 1)
    rows, cols = tl.arange(0, p.C), block * p.BK + tl.arange(0, p.BK)
    mask = (first + rows < end)[:, None] & (cols < R)[None, :]
    at = (first + rows)[:, None] * R + cols[None, :]
    steps = tl.load(x.g + at, mask=mask, other=0.0).to(x.G.dtype.element_ty) * LOG2_E
    tl.store(x.G + at, tl.cumsum(tl.where(steps < FLOOR, FLOOR, steps), 0), mask=mask)


@triton.jit(do_not_specialize=["H", "HV"])
def scores(x: tensor, chunks: tensor, H: tensor, HV: tensor, p: constexpr) -> None:
    """P = X(q) and, with erasing, A, both [T, HV, C]; one program a chunk and head.

    With a channel's gate also into * q, into * k and out * k, [T, HV, K], which spares those who walk the sequence.
    """
    chunk, h = tl.program_id(0) // HV, tl.program_id(0) % HV
    first, end = tl.load(chunks + 2 * chunk), tl.load(chunks + 2 * chunk + 1)
    rows = tl.arange(0, p.C)
    inside = first + rows < end
    i, j = rows[:, None], rows[None, :]
    last = tl.minimum(p.C, end - first).to(tl.int32) - 1
    head = h // (HV // H)
    Xq = tl.full((p.C, p.C), 0.0, tl.float32)
    Xk = tl.full((p.C, p.C), 0.0, tl.float32)
    for start in range(0, p.K, p.BK):
        cols = start + tl.arange(0, p.BK)
        q_, k_ = (
            tile(x.q, first, head, H, p.K, rows, cols, inside),
            tile(x.k, first, head, H, p.K, rows, cols, inside),
        )
        if p.GATE == 2:
            G_ = tile(x.G, first, h, HV, p.K, rows, cols, inside)
            G_last = tl.load(x.G + ((first + last) * HV + h) * p.K + cols, mask=cols < p.K, other=0.0)
            put(x.q_in, q_ * decay(G_), first, h, HV, p.K, rows, cols, inside)
            put(x.k_in, k_ * decay(G_), first, h, HV, p.K, rows, cols, inside)
            put(x.k_out, k_ * decay(G_last[None, :] - G_), first, h, HV, p.K, rows, cols, inside)
            Xq += tl.where(i == j, tl.sum(q_.to(tl.float32) * k_.to(tl.float32), 1)[:, None], 0.0)
            for level in range(p.LEVELS):
                E = level_decay(x.G, G_, level, first, last, h, HV, p.K, rows, cols, inside)
                kE = (k_ * E).to(k_.dtype)
                pairs = across(level, i, j)
                found = tl.dot((q_ * E).to(k_.dtype), tl.trans(kE), input_precision=p.PRECISION)
                Xq += tl.where(pairs, found, 0.0)
                if p.ERASES:
                    found = tl.dot(kE, tl.trans(kE), input_precision=p.PRECISION)
                    Xk += tl.where(pairs, found, 0.0)
        else:
            Xq += tl.dot(q_, tl.trans(k_), input_precision=p.PRECISION)
            if p.ERASES:
                Xk += tl.dot(k_, tl.trans(k_), input_precision=p.PRECISION)
    if p.ERASES:
        b = column(x.beta, first, h, HV, rows, inside)
        Xq *= b[None, :]
        X = inverse(tl.where(i > j, Xk * b[None, :], 0.0), p.C, p.LEVELS, p.PRECISION)
        if p.GATE == 1:
            G_ = column(x.G, first, h, HV, rows, inside)
            X *= decay(G_[:, None] - G_[None, :])
        put(x.A, X, first, h, HV, p.C, rows, rows, inside)
    if p.GATE == 1:
        G_ = column(x.G, first, h, HV, rows, inside)
        Xq *= decay(G_[:, None] - G_[None, :])
    put(x.P, tl.where(i >= j, Xq, 0.0), first, h, HV, p.C, rows, rows, inside)


@triton.jit(do_not_specialize=["H", "HV"])
def forward(x: tensor, bounds: tensor, H: tensor, HV: tensor, scale: tensor, p: constexpr) -> None:
    """o [T, HV, V], the final state, and with SAVES y [T, HV, V] and the state before each chunk [NC, HV, K, V].

    One program a sequence, head and block of value channels.
    """
    splits: tl.constexpr = (p.V + p.BV - 1) // p.BV
    pair = tl.program_id(0) // splits
    n, h = pair // HV, pair % HV
    begin, end, chunk = tl.load(bounds + 3 * n), tl.load(bounds + 3 * n + 1), tl.load(bounds + 3 * n + 2)
    head = h // (HV // H)
    rows, krows, crows = tl.arange(0, p.C), tl.arange(0, p.KP), tl.arange(0, p.C)
    vcols = tl.program_id(0) % splits * p.BV + tl.arange(0, p.BV)
    S_ = state_tile(x.state, pair.to(tl.int64), p.K, p.V, krows, vcols)
    for turn in range(tl.cdiv((end - begin).to(tl.int32), p.C)):
        first = begin + turn * p.C
        inside = first + rows < end
        half = S_.to(x.k.dtype.element_ty)
        if p.SAVES:
            put_state(x.S, half, (chunk + turn) * HV + h, p.K, p.V, krows, vcols)
        q_, k_ = (
            tile(x.q, first, head, H, p.K, rows, krows, inside),
            tile(x.k, first, head, H, p.K, rows, krows, inside),
        )
        y_ = tile(x.v, first, h, HV, p.V, rows, vcols, inside)
        keys_ = tile(x.keys, first, head, H, p.K, rows, krows, inside) if p.GATE == 2 else k_
        write = tl.full((p.C,), 1.0, tl.float32)
        if p.GATE > 0:
            last = first + tl.minimum(p.C, end - first) - 1
        if p.GATE == 1:
            G_, G_last = column(x.G, first, h, HV, rows, inside), tl.load(x.G + last * HV + h)
            into, write = decay(G_), decay(G_last - G_)
            S_ *= decay(G_last)
        if p.GATE == 2:
            G_last = tl.load(x.G + (last * HV + h) * p.K + krows, mask=krows < p.K, other=0.0)
            S_ *= decay(G_last)[:, None]
        o_ = tl.dot(q_, half, input_precision=p.PRECISION)
        if p.GATE == 1:
            o_ *= into[:, None]
        if p.ERASES:
            read = tl.dot(k_, half, input_precision=p.PRECISION)
            if p.GATE == 1:
                read *= into[:, None]
            A_ = tile(x.A, first, h, HV, p.C, rows, crows, inside)
            y_ = tl.dot(A_, (y_ - read).to(k_.dtype), input_precision=p.PRECISION)
            write *= column(x.beta, first, h, HV, rows, inside)
            if p.SAVES:
                put(x.y, y_, first, h, HV, p.V, rows, vcols, inside)
        P_ = tile(x.P, first, h, HV, p.C, rows, crows, inside)
        o_ += tl.dot(P_, y_.to(k_.dtype), input_precision=p.PRECISION)
        put(x.o, o_ * scale, first, h, HV, p.V, rows, vcols, inside)
        S_ += tl.dot(tl.trans(keys_), (y_ * write[:, None]).to(k_.dtype), input_precision=p.PRECISION)
    put_state(x.final, S_, pair.to(tl.int64), p.K, p.V, krows, vcols)


@triton.jit(do_not_specialize=["H", "HV"])
def backward_states(x: tensor, bounds: tensor, H: tensor, HV: tensor, scale: tensor, p: constexpr) -> None:
    """dv [T, HV, V], the gradient of the state after each chunk [NC, HV, K, V] and of the initial state.

    One program a sequence, head and block of value channels, from the last chunk to the first.
    """
    splits: tl.constexpr = (p.V + p.BV - 1) // p.BV
    pair = tl.program_id(0) // splits
    n, h = pair // HV, pair % HV
    begin, end, chunk = tl.load(bounds + 3 * n), tl.load(bounds + 3 * n + 1), tl.load(bounds + 3 * n + 2)
    head = h // (HV // H)
    rows, krows, crows = tl.arange(0, p.C), tl.arange(0, p.KP), tl.arange(0, p.C)
    vcols = tl.program_id(0) % splits * p.BV + tl.arange(0, p.BV)
    dS_ = state_tile(x.dfinal, pair.to(tl.int64), p.K, p.V, krows, vcols)
    turns = tl.cdiv((end - begin).to(tl.int32), p.C)
    for back in range(turns):
        turn = turns - 1 - back
        first = begin + turn * p.C
        inside = first + rows < end
        half = dS_.to(x.k.dtype.element_ty)
        put_state(x.dS, half, (chunk + turn) * HV + h, p.K, p.V, krows, vcols)
        q_, k_ = (
            tile(x.q, first, head, H, p.K, rows, krows, inside),
            tile(x.k, first, head, H, p.K, rows, krows, inside),
        )
        do_ = tile(x.do, first, h, HV, p.V, rows, vcols, inside)
        keys_ = tile(x.keys, first, head, H, p.K, rows, krows, inside) if p.GATE == 2 else k_
        write, read = tl.full((p.C,), 1.0, tl.float32), tl.full((p.C,), 1.0, tl.float32)
        if p.GATE > 0:
            last = first + tl.minimum(p.C, end - first) - 1
        if p.GATE == 1:
            G_, G_last = column(x.G, first, h, HV, rows, inside), tl.load(x.G + last * HV + h)
            read, write = decay(G_), decay(G_last - G_)
            dS_ *= decay(G_last)
        if p.GATE == 2:
            G_last = tl.load(x.G + (last * HV + h) * p.K + krows, mask=krows < p.K, other=0.0)
            dS_ *= decay(G_last)[:, None]
        if p.ERASES:
            write *= column(x.beta, first, h, HV, rows, inside)
        P_ = tile(x.P, first, h, HV, p.C, rows, crows, inside)
        dy = tl.dot(tl.trans(P_), do_, input_precision=p.PRECISION) * scale
        dy += tl.dot(keys_, half, input_precision=p.PRECISION) * write[:, None]
        if p.ERASES:
            A_ = tile(x.A, first, h, HV, p.C, rows, crows, inside)
            dy = tl.dot(tl.trans(A_), dy.to(k_.dtype), input_precision=p.PRECISION)
            dS_ -= tl.dot(tl.trans(k_), (dy * read[:, None]).to(k_.dtype), input_precision=p.PRECISION)
        put(x.dv, dy, first, h, HV, p.V, rows, vcols, inside)
        dread = (do_ * (read * scale)[:, None]).to(k_.dtype)
        dS_ += tl.dot(tl.trans(q_), dread, input_precision=p.PRECISION)
    put_state(x.dstate, dS_, pair.to(tl.int64), p.K, p.V, krows, vcols)


@triton.jit(do_not_specialize=["H", "HV"])
def backward_scores(x: tensor, chunks: tensor, H: tensor, HV: tensor, scale: tensor, p: constexpr) -> None:
    """The gradients of the scores of queries and, with erasing, of keys, [T, HV, C]; one program a chunk and head.

    They are decayed and, for a head's gate, brought to the log-decays, too: the first row of dg [..., T, HV].
    """
    chunk, h = tl.program_id(0) // HV, tl.program_id(0) % HV
    first, end = tl.load(chunks + 2 * chunk), tl.load(chunks + 2 * chunk + 1)
    rows = tl.arange(0, p.C)
    inside = first + rows < end
    i, j = rows[:, None], rows[None, :]
    head = h // (HV // H)
    Dq_, Dk_ = tl.full((p.C, p.C), 0.0, tl.float32), tl.full((p.C, p.C), 0.0, tl.float32)
    for start in range(0, p.V, p.BV):
        cols = start + tl.arange(0, p.BV)
        y_, do_ = (tile(x.y, first, h, HV, p.V, rows, cols, inside), tile(x.do, first, h, HV, p.V, rows, cols, inside))
        Dq_ += tl.dot(do_, tl.trans(y_), input_precision=p.PRECISION)
        if p.ERASES:
            dr = tile(x.dv, first, h, HV, p.V, rows, cols, inside)
            Dk_ -= tl.dot(dr, tl.trans(y_), input_precision=p.PRECISION)
    Dq_, Dk_ = tl.where(i >= j, Dq_ * scale, 0.0), tl.where(i > j, Dk_, 0.0)
    if p.GATE == 1:
        G_ = column(x.G, first, h, HV, rows, inside)
        L = decay(G_[:, None] - G_[None, :])
        Dq_, Dk_ = Dq_ * L, Dk_ * L
        Xq, Xk = tl.full((p.C, p.C), 0.0, tl.float32), tl.full((p.C, p.C), 0.0, tl.float32)
        for start in range(0, p.K, p.BK):
            cols = start + tl.arange(0, p.BK)
            k_ = tile(x.k, first, head, H, p.K, rows, cols, inside)
            Xq += tl.dot(tile(x.q, first, head, H, p.K, rows, cols, inside), tl.trans(k_), input_precision=p.PRECISION)
            if p.ERASES:
                Xk += tl.dot(k_, tl.trans(k_), input_precision=p.PRECISION)
        W = Dq_ * Xq + Dk_ * Xk
        if p.ERASES:
            W *= column(x.beta, first, h, HV, rows, inside)[None, :]
        # The step of row m is in the decay from j to i for i >= m > j; summing so subtracts nothing.
        dtype = x.k.dtype.element_ty
        ends = tl.dot((j >= i).to(dtype), W.to(dtype), input_precision=p.PRECISION)
        tl.store(x.dg + first * HV + h + rows * HV, tl.sum(tl.where(j < i, ends, 0.0), 1), mask=inside)
    put(x.Dq, Dq_, first, h, HV, p.C, rows, rows, inside)
    if p.ERASES:
        put(x.Dk, Dk_, first, h, HV, p.C, rows, rows, inside)


@triton.jit(do_not_specialize=["T", "H", "HV"])
def backward_rows(  # noqa: C901
    x: tensor, chunks: tensor, T: tensor, H: tensor, HV: tensor, scale: tensor, p: constexpr
) -> None:
    """dq, dk [T, HV, K], dg and dbeta; one program a chunk, head and block of key channels.

    dbeta is [K / BK, T, HV], to be summed over the blocks. So is a head's dg, behind what `backward_scores` wrote; a
    channel's is [T, HV, K].
    """
    splits: tl.constexpr = (p.K + p.BK - 1) // p.BK
    pair, block = tl.program_id(0) // splits, tl.program_id(0) % splits
    chunk, h = pair // HV, pair % HV
    first, end = tl.load(chunks + 2 * chunk), tl.load(chunks + 2 * chunk + 1)
    rows, cols = tl.arange(0, p.C), block * p.BK + tl.arange(0, p.BK)
    inside = first + rows < end
    i, j = rows[:, None], rows[None, :]
    last = tl.minimum(p.C, end - first).to(tl.int32) - 1
    head = h // (HV // H)

    # What the reads of the states got, and what the writes to them did.
    dq_, dk_ = tl.full((p.C, p.BK), 0.0, tl.float32), tl.full((p.C, p.BK), 0.0, tl.float32)
    dkeys = tl.full((p.C, p.BK), 0.0, tl.float32)
    over = tl.full((p.BK,), 0.0, tl.float32)
    for start in range(0, p.V, p.BV):
        vcols = start + tl.arange(0, p.BV)
        y_, do_ = (
            tile(x.y, first, h, HV, p.V, rows, vcols, inside),
            tile(x.do, first, h, HV, p.V, rows, vcols, inside),
        )
        S_ = state_tile(x.S, pair.to(tl.int64), p.K, p.V, cols, vcols)
        dS_ = state_tile(x.dS, pair.to(tl.int64), p.K, p.V, cols, vcols)
        dq_ += tl.dot(do_, tl.trans(S_), input_precision=p.PRECISION)
        dkeys += tl.dot(y_, tl.trans(dS_), input_precision=p.PRECISION)
        if p.ERASES:
            dr = tile(x.dv, first, h, HV, p.V, rows, vcols, inside)
            dk_ -= tl.dot(dr, tl.trans(S_), input_precision=p.PRECISION)
        if p.GATE > 0:
            over += tl.sum(S_.to(tl.float32) * dS_.to(tl.float32), 1)
    dq_ *= scale

    q_, k_ = (tile(x.q, first, head, H, p.K, rows, cols, inside), tile(x.k, first, head, H, p.K, rows, cols, inside))
    dtype = k_.dtype
    b = tl.full((p.C,), 1.0, tl.float32)
    if p.ERASES:
        b = column(x.beta, first, h, HV, rows, inside)
    if p.GATE == 1:
        G_, G_last = column(x.G, first, h, HV, rows, inside), tl.load(x.G + (first + last) * HV + h)
        into, out = decay(G_)[:, None], decay(G_last - G_)[:, None]
        over *= decay(G_last)
    if p.GATE == 2:
        G_ = tile(x.G, first, h, HV, p.K, rows, cols, inside)
        G_last = tl.load(x.G + ((first + last) * HV + h) * p.K + cols, mask=cols < p.K, other=0.0)
        into, out = decay(G_), decay(G_last[None, :] - G_)
        over *= decay(G_last)
    if p.GATE > 0:
        dq_, dk_, dkeys = dq_ * into, dk_ * into, dkeys * out
        dinto, dout = dq_ * q_ + dk_ * k_, dkeys * k_ * b[:, None]
    if p.GATE == 1:
        ends = tl.where(j >= i, tl.sum(dinto, 1)[None, :], tl.sum(dout, 1)[None, :])
        at = x.dg + ((block + 1) * T + first) * HV + h + rows * HV
        tl.store(at, tl.sum(ends, 1) + tl.sum(over, 0), mask=inside)

    # Through the scores; a channel's log-decays between rows are in them.
    Dq_ = tile(x.Dq, first, h, HV, p.C, rows, rows, inside)
    if p.GATE == 2:
        dg_ = over[None, :] + tl.dot((j >= i).to(dtype), dinto.to(dtype), input_precision=p.PRECISION)
        dg_ += tl.dot((j < i).to(dtype), dout.to(dtype), input_precision=p.PRECISION)
        diagonal = tl.sum(tl.where(i == j, Dq_, 0.0).to(tl.float32), 1)
        dq_ += (diagonal * b)[:, None] * k_
        dkeys += diagonal[:, None] * q_
        for level in range(p.LEVELS):
            E = level_decay(x.G, G_, level, first, last, h, HV, p.K, rows, cols, inside)
            qE, kE = q_ * E, k_ * E
            key = (kE * b[:, None]).to(dtype)
            D = tl.where(across(level, i, j), tile(x.Dq, first, h, HV, p.C, rows, rows, inside), 0.0).to(dtype)
            right = tl.dot(D, key, input_precision=p.PRECISION)
            left = tl.dot(tl.trans(D), qE.to(dtype), input_precision=p.PRECISION)
            dq_ += right * E
            within = right * qE
            if p.ERASES:
                D = tl.where(across(level, i, j), tile(x.Dk, first, h, HV, p.C, rows, rows, inside), 0.0).to(dtype)
                right = tl.dot(D, key, input_precision=p.PRECISION)
                left += tl.dot(tl.trans(D), kE.to(dtype), input_precision=p.PRECISION)
                dk_ += right * E
                within += right * kE
            dkeys += left * E
            within += left * kE * b[:, None]
            reach = within_half(level, i, j).to(dtype)
            dg_ += tl.dot(reach, within.to(dtype), input_precision=p.PRECISION)
        put(x.dg, dg_, first, h, HV, p.K, rows, cols, inside)
    else:
        key = (k_ * b[:, None]).to(dtype)
        dq_ += tl.dot(Dq_, key, input_precision=p.PRECISION)
        dkeys += tl.dot(tl.trans(Dq_), q_, input_precision=p.PRECISION)
        if p.ERASES:
            Dk_ = tile(x.Dk, first, h, HV, p.C, rows, rows, inside)
            dk_ += tl.dot(Dk_, key, input_precision=p.PRECISION)
            dkeys += tl.dot(tl.trans(Dk_), k_, input_precision=p.PRECISION)
    put(x.dq, dq_, first, h, HV, p.K, rows, cols, inside)
    if p.ERASES:
        at = x.dbeta + (block * T + first) * HV + h + rows * HV
        tl.store(at, tl.sum(dkeys * k_, 1), mask=inside)
    put(x.dk, dk_ + dkeys * b[:, None], first, h, HV, p.K, rows, cols, inside)
