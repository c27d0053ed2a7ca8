"""The chunked algebra that all linear recurrences with a matrix state share; any device, no loop over tokens.

    S_t = Diag(e^{g_t}) S_{t-1} + beta_t k_t y_t^T,      o_t = scale * q_t^T S_t
    y_t = v_t - (Diag(e^{g_t}) S_{t-1})^T k_t            for the delta rules; y_t = v_t and beta_t = 1 otherwise

In a chunk of C tokens that starts from S, with in_i the decay from the chunk's start to token i, out_j the decay from
token j to its end, and X(a)_ij = sum_c a_ic beta_j k_jc e^{g_{j+1,c} + ... + g_{i,c}} for i >= j:

    (I + strict(X(k))) y = v - (in * k) S,    o = (in * q) S + X(q) y,    S' = in_C * S + (out * beta * k)^T y.

Everything but S' is computed for all chunks at once. Only exponents <= 0 are formed: decays per channel meet in halves
of halves, the boundary between two halves being the anchor of the products across it, and sums of log-decays are built
by adding, never by subtracting, so that g = -inf (a hard reset) is an ordinary value and what comes after it is exact.
The chunk length depends on the operator and its widths, never on T: a prefix keeps its bits whatever follows it.

Axes: B batch, T tokens, H heads, K key channels, V value channels, N chunks, C tokens of a chunk, M = N * B * H.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own convention


def to_chunks(x_BTHD: Tensor, C: int) -> Tensor:
    """[B, T, H, D] -> [N, B, H, C, D], zero rows filling the last chunk."""
    B, T, H, D = x_BTHD.shape
    x = F.pad(x_BTHD, (0, 0, 0, 0, 0, -T % C))
    return x.reshape(B, -1, C, H, D).permute(1, 0, 3, 2, 4).contiguous()


def from_chunks(x_NBHCD: Tensor, T: int) -> Tensor:
    """[N, B, H, C, D] -> [B, T, H, D]."""
    N, B, H, C, D = x_NBHCD.shape
    return x_NBHCD.permute(1, 0, 3, 2, 4).reshape(B, N * C, H, D)[:, :T]


def inverse(A_MCC: Tensor) -> Tensor:
    """(I + strictly lower triangle of A)^-1; the rest of A is not read."""
    C = A_MCC.shape[-1]
    eye = torch.eye(C, dtype=A_MCC.dtype, device=A_MCC.device)
    return torch.linalg.solve_triangular(A_MCC, eye.expand_as(A_MCC), upper=False, unitriangular=True)


def head_decays(g_MC: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Decays of one gate a head: into a token [M,C,1], out of it [M,C,1], over the chunk [M,1,1], between two [M,C,C].

    The running sum is held in float64 with steps cut off where e^g is zero in any case, so that differences of it are
    exact to the precision of `g` even behind a hard reset.
    """
    total = g_MC.double().clamp(min=-800.0 if g_MC.dtype == torch.float64 else -200.0).cumsum(-1)
    between = total[:, :, None] - total[:, None, :]
    above = torch.ones(between.shape[-2:], dtype=torch.bool, device=g_MC.device).triu(1)
    L = between.to(g_MC.dtype).masked_fill(above, -torch.inf).exp()
    into = total[..., None].to(g_MC.dtype).exp()
    return into, L[:, -1, :, None], into[:, -1:], L


def channel_scores(rows_MRCK: Tensor, keys_MCK: Tensor, g_MCK: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """X(a) for R kinds of rows under one gate a channel, and the decays into, out of and over the chunk.

    At width s, a block of 2s tokens has its anchor between its halves: rows of the right half carry the decay since
    the anchor, keys of the left half the decay up to it, and one product gives all scores across it.
    """
    M, R, C, K = rows_MRCK.shape
    X = rows_MRCK.new_zeros(M, R, C, C)
    X.diagonal(dim1=-2, dim2=-1).copy_((rows_MRCK * keys_MCK[:, None]).sum(-1))
    ahead, behind = g_MCK, torch.zeros_like(g_MCK)  # sums from the block's start to a token, from after it to the end
    s = 1
    while s < C:
        n = C // (2 * s)
        a, b = (x.view(M, n, 2, s, K) for x in (ahead, behind))
        rows = rows_MRCK.view(M, R, n, 2, s, K)[:, :, :, 1] * a[:, None, :, 1].exp()
        keys = keys_MCK.view(M, n, 2, s, K)[:, :, 0] * b[:, :, 0].exp()
        across = rows.transpose(1, 2).reshape(M * n, R * s, K) @ keys.reshape(M * n, s, K).mT
        blocks = X.view(M, R, n, 2, s, n, 2, s)[:, :, :, 1, :, :, 0].diagonal(dim1=2, dim2=4)  # [M, R, s, s, n]
        blocks.copy_(across.view(M, n, R, s, s).permute(0, 2, 3, 4, 1))
        left, right = a[:, :, 0, -1:], a[:, :, 1, -1:]
        ahead = torch.stack((a[:, :, 0], a[:, :, 1] + left), dim=2).view(M, C, K)
        behind = torch.stack((b[:, :, 0] + right, b[:, :, 1]), dim=2).view(M, C, K)
        s *= 2
    return X, ahead.exp(), behind.exp(), ahead[:, -1:].exp()


def chunked(
    C: int, q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the algebra above in chunks of C (a power of two); g [B,T,H] or [B,T,H,K]; beta marks the delta rules."""
    B, T, H, K = q.shape
    V = v.shape[-1]
    N = -(-T // C)
    q_, k_, v_ = (to_chunks(x, C).view(N * B * H, C, -1) for x in (q * scale, k, v))
    erases = beta is not None
    keys = k_ if beta is None else k_ * to_chunks(beta[..., None], C).view(N * B * H, C, 1)
    rows = torch.stack((q_, k_), dim=1) if erases else q_[:, None]
    M, R = rows.shape[:2]
    if g is None:
        X = (rows.reshape(M, R * C, K) @ keys.mT).view(M, R, C, C).tril()
        into = out = over = torch.ones((), dtype=q.dtype, device=q.device)
    elif g.dim() == 3:
        into, out, over, L = head_decays(to_chunks(g[..., None], C).view(M, C))
        X = (rows.reshape(M, R * C, K) @ keys.mT).view(M, R, C, C) * L[:, None]
    else:
        X, into, out, over = channel_scores(rows, keys, to_chunks(g, C).view(M, C, K))
        over = over.mT
    keys_out = (keys * out).mT
    if erases:
        T_inv = inverse(X[:, 1])
        erase = (T_inv @ (k_ * into)).view(N, B * H, C, K)
        y_ = (T_inv @ v_).view(N, B * H, C, V)
    else:
        y_ = v_.view(N, B * H, C, V)
    over = over.expand(M, *over.shape[1:]).view(N, B * H, -1, 1) if over.dim() else over.expand(N, 1, 1, 1)
    S = state.reshape(B * H, K, V)
    starts, ys = [], []
    for n in range(N):
        starts.append(S)
        y = torch.baddbmm(y_[n], erase[n], S, alpha=-1) if erases else y_[n]
        ys.append(y)
        S = torch.baddbmm(over[n] * S, keys_out.view(N, B * H, K, C)[n], y)
    o = torch.baddbmm(X[:, 0] @ torch.cat(ys), q_ * into, torch.cat(starts))
    return from_chunks(o.view(N, B, H, C, V), T), S.view(B, H, K, V)
