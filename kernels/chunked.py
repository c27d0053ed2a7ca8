"""The chunked algebra that all linear recurrences with a matrix state share; any device, no loop over tokens.

    S_t = Diag(e^{g_t}) S_{t-1} + beta_t k_t y_t^T,      o_t = scale * q_t^T S_t
    y_t = v_t - (Diag(e^{g_t}) S_{t-1})^T p_t            (the delta rules; else y_t = v_t and beta_t = 1)

with p_t = k_t unless the key that is erased is one of its own.

In a chunk of C tokens that starts from S, with into_i the decay from the chunk's start to token i, out_j that from
token j to its end, and over = into_C:

    X(a)_ij = sum_c a_ic beta_j k_jc e^{g_{j+1,c} + ... + g_{i,c}}   for i >= j, else 0
    (I + strict(X(p))) y = v - (into * p) S
    o = (into * q) S + X(q) y
    S' = over * S + (out * beta * k)^T y

Everything but the chain of S' is computed for all chunks at once. The backward pass is written out: it keeps the
scores and the states between chunks, recomputes the rest, and runs the one chain in reverse; from there,
dX(q) = do y^T and dX(p) = -dr y^T with dr = (I + strict(X(p)))^-T dy lead to q, p, k, beta and g.

Only exponents <= 0 are formed, and g = -inf (a hard reset) is an ordinary value. The chunk length depends on the
operator and its widths, never on T, so that a prefix keeps its bits whatever follows it.

Axes: B batch, T tokens, H heads, K key channels, V value channels, N chunks, C tokens a chunk, M = N * B * H.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Tensors = list[Tensor]
Backward = TypeVar("Backward", bound=Callable[..., Any])


def to_chunks(x_BTHD: Tensor, C: int, factor: float = 1.0) -> Tensor:
    """[B, T, H, D] -> [N * B * H, C, D] times a factor, in memory of its own; zero rows fill the last chunk."""
    T, D = x_BTHD.shape[1], x_BTHD.shape[3]
    x = F.pad(x_BTHD, (0, 0, 0, 0, 0, -T % C)) if T % C else x_BTHD
    x = x.unflatten(1, (-1, C)).permute(1, 0, 3, 2, 4)
    own = x.new_empty(x.shape)
    return (own.copy_(x) if factor == 1.0 else torch.mul(x, factor, out=own)).view(-1, C, D)


def from_chunks(x_MCD: Tensor, to_BTHD: Tensor, factor: float = 1.0) -> None:
    """Write [N * B * H, C, D] times a factor over [B, T, H, D], leaving out what filled the last chunk."""
    B, T, H, D = to_BTHD.shape
    x = x_MCD.view(-1, B, H, x_MCD.shape[1], D).permute(1, 0, 3, 2, 4)
    N, C = x.shape[1:3]
    if T % C:
        x, to = x.reshape(B, N * C, H, D)[:, :T], to_BTHD
    else:
        to = to_BTHD.view(B, N, C, H, D)
    to.copy_(x) if factor == 1.0 else torch.mul(x, factor, out=to)


def blocks(x_MCC: Tensor, s: int, row: int, column: int) -> Tensor:
    """A corner of every diagonal block of width 2s of a contiguous x, [M, C / 2s, s, s], as a view."""
    M, C, _ = x_MCC.shape
    start = x_MCC.storage_offset() + (row * C + column) * s
    return x_MCC.as_strided((M, C // (2 * s), s, s), (C * C, 2 * s * (C + 1), C, 1), start)


def inverse(A_MCC: Tensor) -> Tensor:
    """(I + strictly lower triangle of A)^-1 by substitution; the rest of A is not read.

    No power of A is formed, so large entries overflow no earlier than the inverse itself. Unusual: solved as
    X (I + A)^T = I, because a transposed A has the layout that LAPACK wants and need not be copied.
    """
    identity = torch.eye(A_MCC.shape[-1], dtype=A_MCC.dtype, device=A_MCC.device).expand_as(A_MCC)
    return torch.linalg.solve_triangular(A_MCC.mT, identity, upper=True, left=False, unitriangular=True).mT


class Decay:
    """How the state decays: the factors of a chunk, the scores under them, and the way back to g. This one: not at all.

    `into` is the decay from the chunk's start to each token [M, C, 1 or K], `out` that from each token to the
    chunk's end, `over` that of the whole chunk [M, 1 or K, 1]; None is no decay.
    """

    into: Tensor | None = None
    out: Tensor | None = None
    over: Tensor | None = None

    def saved(self) -> Tensors:
        """The tensors from which the class makes this gate again."""
        return []

    def scores(self, rows: Tensors, keys: Tensor) -> Tensors:
        """X(a) [M, C, C] for each a in rows [M, C, K]; zero above the diagonal."""
        return [torch.bmm(a, keys.mT).tril_() for a in rows]

    def scores_backward(
        self, rows: Tensors, keys: Tensor, X: Tensors, dX: Tensors, drows: Tensors, dkeys: Tensor
    ) -> Any:
        """Add the gradients of rows and keys to drows and dkeys; dX is used up.

        Returns the gradient of the log-decays within chunks, as `log_decay_backward` takes it.
        """
        for a, d, da in zip(rows, dX, drows, strict=True):
            da.baddbmm_(d.tril_(), keys)
            dkeys.baddbmm_(d.mT, a)

    def log_decay_backward(self, within: Any, into: Tensor, out: Tensor, S: Tensor, dS: Tensor) -> Tensor:
        """Gradient of g from those of the log-decays within chunks, into [M, C, K] and out of them [M, C, K].

        That of the decay over a chunk comes from the state S before it and the gradient dS of the one after it, which
        is used up.
        """
        raise AssertionError("there is no gate to differentiate")


class HeadDecay(Decay):
    """One log-decay a head and token: `into` and the decay L_ij from j to i, zero above the diagonal."""

    into: Tensor
    over: Tensor

    def __init__(self, into_MC1: Tensor, L_MCC: Tensor) -> None:
        self.into, self.L = into_MC1, L_MCC
        self.out, self.over = L_MCC[:, -1, :, None], into_MC1[:, -1:]

    @classmethod
    def of(cls, g_MC: Tensor) -> HeadDecay:
        """The running sum is held in float64 with steps cut off where e^g is zero in any case.

        So its differences are as exact as g even behind a hard reset.
        """
        floor = -800.0 if g_MC.dtype == torch.float64 else -200.0
        total = g_MC.clamp(min=floor).cumsum(-1, dtype=torch.float64)
        between = (total[:, :, None] - total[:, None, :]).to(g_MC.dtype)
        return cls(total[..., None].to(g_MC.dtype).exp_(), between.exp_().tril_())

    def saved(self) -> Tensors:
        """See `Decay`."""
        return [self.into, self.L]

    def scores(self, rows: Tensors, keys: Tensor) -> Tensors:
        """See `Decay`."""
        return [torch.bmm(a, keys.mT).mul_(self.L) for a in rows]

    def scores_backward(
        self, rows: Tensors, keys: Tensor, X: Tensors, dX: Tensors, drows: Tensors, dkeys: Tensor
    ) -> Tensor:
        """See `Decay`."""
        within = X[0] * dX[0]
        for x, d in zip(X[1:], dX[1:], strict=True):
            within.addcmul_(x, d)
        for a, d, da in zip(rows, dX, drows, strict=True):
            da.baddbmm_(d.mul_(self.L), keys)
            dkeys.baddbmm_(d.mT, a)
        return within

    def log_decay_backward(self, within: Tensor, into: Tensor, out: Tensor, S: Tensor, dS: Tensor) -> Tensor:
        """g_m takes part in every decay that begins before m and ends at or after it; nothing is subtracted."""
        before = torch.ones_like(within[0]).triu_(1)
        ends = torch.matmul(within, before).add_(into.sum(-1, keepdim=True))
        over = dS.mul_(S).flatten(1).sum(-1, keepdim=True).mul_(self.over[:, 0])
        return ends.tril_().sum(-2).add_(torch.matmul(out.sum(-1), before)).add_(over)[..., None]


class ChannelDecay(Decay):
    """One log-decay a key channel and token.

    At width s, a block of 2s tokens has its anchor between its halves: rows of the right half carry the decay since
    the anchor, keys of the left half the decay up to it, and one product gives all scores across it. The sums of
    log-decays grow with s by adding, so that -inf needs no care and nothing cancels; on the way back they shrink.
    """

    into: Tensor
    over: Tensor

    def __init__(self, g_MCK: Tensor) -> None:
        M, C, K = g_MCK.shape
        self.g = g_MCK
        self.levels: list[tuple[int, Tensor, Tensor]] = []
        # Sums of g from a block's start to each of its tokens, and from each token to the block's end.
        ahead, behind = g_MCK.clone(), torch.zeros_like(g_MCK)
        s = 1
        while s < C:
            a, b = (x.view(M, -1, 2, s, K) for x in (ahead, behind))
            self.levels.append((s, a[:, :, 1].exp(), b[:, :, 0].exp()))
            b[:, :, 0] += a[:, :, 1, -1:]
            a[:, :, 1] += a[:, :, 0, -1:]
            s *= 2
        self.into, self.out = ahead.exp_(), behind.exp_()
        self.over = self.into[:, -1:].mT

    def saved(self) -> Tensors:
        """See `Decay`."""
        return [self.g]

    @staticmethod
    def half(x_MCK: Tensor, s: int, side: int, decay: Tensor) -> Tensor:
        """The left (0) or right (1) halves of all blocks of width 2s, decayed, [M * n, s, K]."""
        return (x_MCK.unflatten(1, (-1, 2, s))[:, :, side] * decay).flatten(0, 1)

    def scores(self, rows: Tensors, keys: Tensor) -> Tensors:
        """See `Decay`."""
        M, C, _ = keys.shape
        X = [keys.new_zeros(M, C, C) for _ in rows]
        for a, x in zip(rows, X, strict=True):
            x.diagonal(dim1=-2, dim2=-1).copy_((a * keys).sum(-1))
        for s, ahead, behind in self.levels:
            left = self.half(keys, s, 0, behind)
            for a, x in zip(rows, X, strict=True):
                to = blocks(x, s, 1, 0)
                to.copy_(torch.bmm(self.half(a, s, 1, ahead), left.mT).view(to.shape))
        return X

    def scores_backward(
        self, rows: Tensors, keys: Tensor, X: Tensors, dX: Tensors, drows: Tensors, dkeys: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """See `Decay`."""
        M, _, K = keys.shape
        for a, d, da in zip(rows, dX, drows, strict=True):
            diagonal = d.diagonal(dim1=-2, dim2=-1)[..., None]
            da.addcmul_(diagonal, keys)
            dkeys.addcmul_(diagonal, a)
        within = []
        for s, ahead, behind in self.levels:
            left = self.half(keys, s, 0, behind)
            dleft, dahead = torch.zeros_like(left), torch.zeros_like(left)
            for a, da, d in zip(rows, drows, dX, strict=True):
                right, block = self.half(a, s, 1, ahead), blocks(d, s, 1, 0).reshape(-1, s, s)
                dright = torch.bmm(block, left)
                dleft.baddbmm_(block.mT, right)
                dahead.addcmul_(dright, right)
                da.view(M, -1, 2, s, K)[:, :, 1].addcmul_(dright.view(ahead.shape), ahead)
            within.append((dahead.view(ahead.shape), (dleft * left).view(behind.shape)))
            dkeys.view(M, -1, 2, s, K)[:, :, 0].addcmul_(dleft.view(behind.shape), behind)
        return within

    def log_decay_backward(
        self, within: list[tuple[Tensor, Tensor]], into: Tensor, out: Tensor, S: Tensor, dS: Tensor
    ) -> Tensor:
        """From the chunk down to the token: a half's sum took part in whatever crossed the other half."""
        M, _, K = into.shape
        total = dS.mul_(S).sum(-1)[:, None].mul_(self.over.mT)
        for (s, _, _), (dahead, dbehind) in zip(reversed(self.levels), reversed(within), strict=True):
            a, b = (x.view(M, -1, 2, s, K) for x in (into, out))
            total = torch.stack((total + a[:, :, 1].sum(2), total + b[:, :, 0].sum(2)), dim=2).view(M, -1, K)
            a[:, :, 1] += dahead
            b[:, :, 0] += dbehind
        return into + total


def times(x: Tensor, factor: Tensor | None) -> Tensor:
    """x * factor, or x where there is no factor."""
    return x if factor is None else x * factor


def gate_of(g: Tensor | None, C: int) -> Decay:
    """The gate of g: None, [B, T, H] or [B, T, H, K]."""
    if g is None:
        return Decay()
    return HeadDecay.of(to_chunks(g[..., None], C)[..., 0]) if g.dim() == 3 else ChannelDecay(to_chunks(g, C))


GATES: dict[int, type[Decay]] = {0: Decay, 3: HeadDecay, 4: ChannelDecay}
"""The kind of gate by the number of axes of g, 0 where there is none."""


def whole_forward(
    C: int,
    scale: float,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    state: Tensor,
    p: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensors]:
    """o, the final state, and what the backward pass needs.

    Sequences are independent, so they are taken a few at a time, as many as fit the processor's cache together with
    what is computed from them: these passes move more data than they compute on.
    """
    o, final = torch.empty_like(v, memory_format=torch.contiguous_format), torch.empty_like(state)
    saved = []
    for some in slabs(q, v):
        g_, beta_, p_ = (None if x is None else x[some] for x in (g, beta, p))
        o_, final[some], kept = forward(C, q[some], k[some], v[some], g_, beta_, state[some], p_)
        from_chunks(o_, o[some], scale)
        saved += kept
    return o, final, saved


def whole_backward(
    C: int,
    scale: float,
    gate_axes: int,
    of_gate: bool,
    erases: bool,
    apart: bool,
    saved: Sequence[Tensor],
    do: Tensor,
    dfinal: Tensor,
) -> Tensors:
    """Gradients of q, k, v, of p where there is such, of g if `of_gate` asks for it, of beta, of the initial state.

    `apart`: the erased key is one of its own.
    """
    (B, T, H, V), K = do.shape, dfinal.shape[2]
    narrow = [False] * (3 + apart) + [gate_axes == 3] * of_gate + [True] * erases
    widths = [1 if one else V if i == 2 else K for i, one in enumerate(narrow)]
    whole = [do.new_empty(B, T, H, width) for width in widths]
    dstate = torch.empty_like(dfinal, memory_format=torch.contiguous_format)
    ranges = slabs(whole[0], do)
    kept = len(saved) // len(ranges)
    for i, some in enumerate(ranges):
        of_slab = saved[i * kept : (i + 1) * kept]
        parts, dstate[some] = backward(
            C, scale, GATES[gate_axes], of_gate, erases, apart, of_slab, do[some], dfinal[some]
        )
        for part, d in zip(parts, whole, strict=True):
            from_chunks(part, d[some])
    return [d[..., 0] if one else d for d, one in zip(whole, narrow, strict=True)] + [dstate]


def gradients(found: Tensors, gated: bool, erases: bool, apart: bool) -> tuple[Tensor | None, ...]:
    """The result of `whole_backward` for C, scale, q, k, v, g, beta, state and p; None where there is no tensor."""
    rest = iter(found[3:])
    dp, dg, dbeta = (next(rest) if there else None for there in (apart, gated, erases))
    return None, None, *found[:3], dg, dbeta, next(rest), dp


def no_autocast(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Autocast off on the device of x; entering the context costs, so it is left out where autocast is not on."""
    device = x.device.type
    on = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else contextlib.nullcontext()


def without_autocast(backward: Backward) -> Backward:
    """A backward pass (ctx, gradients) that computes in the types it is given, wherever it is asked for."""

    @functools.wraps(backward)
    def wide(ctx: Any, *gradients: Tensor) -> Any:
        with no_autocast(gradients[0]):
            return backward(ctx, *gradients)

    return cast("Backward", wide)


class Chunked(torch.autograd.Function):
    """The algebra of this module with its backward pass; see `chunked`."""

    @staticmethod
    def forward(
        ctx: Any,
        C: int,
        scale: float,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor | None,
        beta: Tensor | None,
        state: Tensor,
        p: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Returns o and the final state."""
        o, final, saved = whole_forward(C, scale, q, k, v, g, beta, state, p)
        ctx.save_for_backward(*saved)
        ctx.how = C, scale, 0 if g is None else g.dim(), beta is not None, p is not None
        return o, final

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, do: Tensor, dfinal: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of the arguments of `forward`."""
        C, scale, gate_axes, erases, apart = ctx.how
        of_gate = ctx.needs_input_grad[5]
        found = whole_backward(C, scale, gate_axes, of_gate, erases, apart, ctx.saved_tensors, do, dfinal)
        return gradients(found, of_gate, erases, apart)


@torch.library.custom_op("asiarc::chunked", mutates_args=())
def traced(
    C: int,
    scale: float,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    state: Tensor,
    p: Tensor | None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """`whole_forward` as one node of a traced graph; called directly it costs more than `Chunked` does."""
    return whole_forward(C, scale, q, k, v, g, beta, state, p)


@torch.library.custom_op("asiarc::chunked_backward", mutates_args=())
def traced_backward(
    C: int,
    scale: float,
    gate_axes: int,
    of_gate: bool,
    erases: bool,
    apart: bool,
    saved: list[Tensor],
    do: Tensor,
    dfinal: Tensor,
) -> list[Tensor]:
    """`whole_backward` as one node of a traced graph."""
    return whole_backward(C, scale, gate_axes, of_gate, erases, apart, saved, do, dfinal)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensors]) -> None:
    C, scale, _, _, _, g, beta, _, p = inputs
    ctx.save_for_backward(*output[2])
    ctx.how = C, scale, 0 if g is None else g.dim(), beta is not None, p is not None


def _lead_back(ctx: Any, do: Tensor, dfinal: Tensor, _: Tensors) -> tuple[Tensor | None, ...]:
    C, scale, gate_axes, erases, apart = ctx.how
    of_gate = ctx.needs_input_grad[5]
    found = traced_backward(C, scale, gate_axes, of_gate, erases, apart, list(ctx.saved_tensors), do, dfinal)
    return gradients(found, of_gate, erases, apart)


traced.register_fake(whole_forward)
traced_backward.register_fake(whole_backward)
traced.register_autograd(_lead_back, setup_context=_keep)


SLAB = 2**17
"""Elements of one [B, T, H, D] tensor that are worked on at a time."""


def slabs(q_BTHK: Tensor, v_BTHV: Tensor) -> list[slice]:
    """Ranges of the batch of at most SLAB elements; everything at once where there is no cache to fit."""
    B, T, H, K = q_BTHK.shape
    rows = B if q_BTHK.is_cuda else max(1, SLAB // (T * H * max(K, v_BTHV.shape[-1])))
    return [slice(b, min(b + rows, B)) for b in range(0, B, rows)]


def forward(
    C: int,
    q_: Tensor,
    k_: Tensor,
    v_: Tensor,
    g_: Tensor | None,
    beta_: Tensor | None,
    state: Tensor,
    p_: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensors]:
    """o / scale [M, C, V], the final state, and what the backward pass needs."""
    q, k, y = to_chunks(q_, C), to_chunks(k_, C), to_chunks(v_, C)
    p = k if p_ is None else to_chunks(p_, C)
    gate, beta = gate_of(g_, C), None if beta_ is None else to_chunks(beta_[..., None], C)
    keys = times(k, beta)
    X = gate.scores([q] if beta is None else [q, p], keys)
    w, erasing = None, []
    if beta is not None:
        T_inv = inverse(X[1])
        w, y = torch.bmm(T_inv, times(p, gate.into)), torch.bmm(T_inv, y)
        erasing = [beta, T_inv, w] if p_ is None else [beta, T_inv, w, p]
    S = states(state, y, w, times(keys, gate.out), gate.over)
    o = torch.bmm(X[0], y).baddbmm_(times(q, gate.into), S[:-1].flatten(0, 1))
    return o, S[-1].view_as(state), [q, k, y, S, *erasing, *X, *gate.saved()]


def backward(
    C: int,
    scale: float,
    kind: type[Decay],
    of_gate: bool,
    erases: bool,
    apart: bool,
    saved: Sequence[Tensor],
    do_: Tensor,
    dfinal: Tensor,
) -> tuple[Tensors, Tensor]:
    """Gradients of q, k, v, of p, g and beta as in `whole_backward`, [M, C, D] each, and of the initial state."""
    q, k, y, S, *rest = saved
    beta, T_inv, w = rest[:3] if erases else (None, None, None)
    p = rest[3] if apart else k
    rest, rows = rest[3 * erases + apart :], [q, p] if erases else [q]
    X, gate = rest[: len(rows)], kind(*rest[len(rows) :])
    keys, do = times(k, beta), to_chunks(do_, C, scale)

    dy = torch.bmm(X[0].mT, do)
    dS = torch.empty_like(S)
    torch.bmm(times(q, gate.into).mT, do, out=dS[:-1].flatten(0, 1))
    dS[-1] = dfinal.reshape(dS.shape[1:])
    states_backward(dS, dy, w, times(keys, gate.out), gate.over)
    reads = [do]
    if T_inv is not None:
        dy = torch.bmm(T_inv.mT, dy)
        reads.append(-dy)
    dX = [torch.bmm(d, y.mT) for d in reads]
    if T_inv is not None:
        dX[1].diagonal(dim1=-2, dim2=-1).zero_()

    starts, ends = S[:-1].flatten(0, 1), dS[1:].flatten(0, 1)
    drows, dkeys = [torch.bmm(d, starts.mT) for d in reads], torch.bmm(y, ends.mT)
    if gate.into is not None and gate.out is not None:
        for d in drows:
            d.mul_(gate.into)
        dkeys.mul_(gate.out)
    dinto, dout = (drows[0] * q, dkeys * keys) if of_gate else (None, None)
    if dinto is not None and beta is not None:
        dinto.addcmul_(drows[1], p)
    within = gate.scores_backward(rows, keys, X, dX, drows, dkeys)
    found = [drows[0], dkeys, dy, *drows[1:]] if apart else [drows[0], dkeys, dy]
    if dinto is not None and dout is not None:
        found.append(gate.log_decay_backward(within, dinto, dout, starts, ends))
    if beta is not None:
        found.append((dkeys * k).sum(-1, keepdim=True))
        found[1] = dkeys * beta if apart else drows[1].addcmul_(dkeys, beta)
    return found, dS[0].view_as(dfinal)


RUN = 16
"""Chunks whose states are summed one after the other; see `scan`."""


def split(x_MXX: Tensor | None, N: int) -> Sequence[Any]:
    """One tensor [B * H, ...] a chunk, or one None a chunk."""
    return (None,) * N if x_MXX is None else x_MXX.unflatten(0, (N, -1)).unbind()


def scan(S: Tensor, over: Tensor | None, *, reverse: bool = False) -> None:
    """S_n += over_{n-1} S_{n-1} in place for n > 0 along the first axis; reverse: S_n += over_n S_{n+1}, from the end.

    Beyond `RUN` of them all runs of that length take a step at a time, then one run after the other adds what the one
    before it ends with: a loop of about RUN + N / RUN turns. S_n is the same whatever comes after it.
    """

    def add(to: Tensor, other: Tensor, factor: Tensor | None) -> None:
        to.add_(other) if factor is None else to.addcmul_(other, factor)

    N, back = len(S), slice(None, None, -1 if reverse else 1)
    if N <= RUN:
        rows, factors = S.unbind(), split(over, N - 1)
        for a, b in itertools.pairwise(range(N)[back]):
            add(rows[b], rows[a], factors[min(a, b)])
        return
    since = None  # the decay since the start of the run, once the loop is done
    if over is not None:
        since = F.pad(over.unflatten(0, (N - 1, -1)), (0,) * 6 + ((0, 1) if reverse else (1, 0)))
    for a, b in itertools.pairwise(range(RUN)[back]):
        n = min(len(S[a::RUN]), len(S[b::RUN]))
        add(S[b::RUN][:n], S[a::RUN][:n], None if since is None else since[b::RUN][:n])
        if since is not None:
            since[b::RUN][:n].mul_(since[a::RUN][:n])
    starts = range(0, N, RUN)
    for start in starts[:-1][back] if reverse else starts[1:]:
        end = S[start + RUN] if reverse else S[start - 1]
        run = slice(start, start + RUN)
        add(S[run], end, None if since is None else since[run])


def states(state: Tensor, y: Tensor, w: Tensor | None, keys_out: Tensor, over: Tensor | None) -> Tensor:
    """All states between chunks [N+1, B*H, K, V]; y (given as if S were 0) is corrected in place by -w S."""
    BH, K, V = state.shape[0] * state.shape[1], *state.shape[2:]
    N = y.shape[0] // BH
    S = y.new_empty(N + 1, BH, K, V)
    S[0] = state.view(BH, K, V)
    if w is None:
        torch.bmm(keys_out.mT, y, out=S[1:].flatten(0, 1))
        scan(S, over)
        return S
    chain, per_chunk = S.unbind(), [split(x, N) for x in (y, w, keys_out, over)]
    for n, (before, after) in enumerate(itertools.pairwise(chain)):
        y_, w_, keys_, over_ = (x[n] for x in per_chunk)
        decayed = before if over_ is None else torch.mul(before, over_, out=after)
        y_.baddbmm_(w_, before, alpha=-1)
        torch.baddbmm(decayed, keys_.mT, y_, out=after)
    return S


def states_backward(dS: Tensor, dy: Tensor, w: Tensor | None, keys_out: Tensor, over: Tensor | None) -> None:
    """Complete the gradients of all states between chunks dS [N+1, B*H, K, V], and dy, both in place.

    dS is given as what a chunk's outputs alone say, and that of the final state; dy as if no later chunk read it.
    """
    N = len(dS) - 1
    if w is None:
        scan(dS, over, reverse=True)
        dy.baddbmm_(keys_out, dS[1:].flatten(0, 1))
        return
    chain, per_chunk = dS.unbind(), [split(x, N) for x in (dy, w, keys_out, over)]
    for n in reversed(range(N)):
        dy_, w_, keys_, over_ = (x[n] for x in per_chunk)
        before, after = chain[n], chain[n + 1]
        dy_.baddbmm_(keys_, after)
        before.add_(after) if over_ is None else before.addcmul_(after, over_)
        before.baddbmm_(w_.mT, dy_, alpha=-1)


def chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    scale: float,
    state: Tensor,
    C: int | None = None,
    *,
    p: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the algebra above; g is None, [B, T, H] or [B, T, H, K]; with beta [B, T, H] it is a delta rule.

    p [B, T, H, K] is the erased key of a delta rule where it is not k.

    C, a power of two, is the chunk length; None takes the fastest one measured for the widths, one CPU thread.
    Returns o [B, T, H, V] and the final state [B, H, K, V]; differentiable once in every tensor.
    """
    if q.shape[1] == 1:
        return step(q, k, v, g, beta, scale, state, p)
    C = C or (16 if max(q.shape[-1], v.shape[-1]) <= 32 else 32)
    if torch.compiler.is_compiling():
        return traced(C, scale, q, k, v, g, beta, state.contiguous(), p)[:2]
    return Chunked.apply(C, scale, q, k, v, g, beta, state.contiguous(), p)


def step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    scale: float,
    state: Tensor,
    p: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token of the recurrence, which is all that decoding needs; axes [B, 1, H, D]."""
    if g is not None:
        state = (g[:, 0, :, None, None] if g.dim() == 3 else g[:, 0, :, :, None]).exp() * state
    y = v.transpose(1, 2)
    if beta is not None:
        y = beta.transpose(1, 2)[..., None] * (y - (k if p is None else p).transpose(1, 2) @ state)
    state = state + k[:, 0, :, :, None] * y
    return scale * (q.transpose(1, 2) @ state).transpose(1, 2), state
