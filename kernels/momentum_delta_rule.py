"""`momentum_delta_rule`: a delta rule whose corrections gather in a second memory before they reach the first.

    N_t = e^{m_t} N_{t-1} + eta_t k_t y_t^T,        y_t = v_t - (e^{g_t} S_{t-1})^T k_t
    S_t = e^{g_t} S_{t-1} + beta_t N_t,             o_t = scale * S_t^T q_t

In a chunk of C tokens that starts from (S, N), with A_i and M_i the decays e^g and e^m from the chunk's start to token
i, and a_ij and m_ij those from token j to token i (zero above the diagonal):

    R = strict(a) Diag(beta) m,        W = R + Diag(beta) m,        d = strict(a) (beta * M),        c = d + beta * M
    (I + strict(R * k k^T) Diag(eta)) y = v - (A * k) S - (d * k) N
    o = (A * q) S + (c * q) N + (W * q k^T) Diag(eta) y

W_ij is what a correction of token j weighs in S_i, R_ij what it weighs in e^{g_i} S_{i-1}. The two memories are one
matrix Z, S above N, which goes from chunk to chunk by one product. Only exponents <= 0 are formed.

Axes: B batch, T tokens, H heads, K key channels, V value channels, N chunks, C tokens a chunk, X any.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asiarc.kernels.chunked import inverse
from asiarc.kernels.contract import Recurrence, described_by
from asiarc.kernels.definitions import outer

CHUNK = 32


def chunk(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float, state: Tensor, m: Tensor, eta: Tensor
) -> tuple[Tensor, Tensor]:
    """The algebra above; o [B, T, H, V] and the final state [B, H, 2K, V]. A single token goes by its definition."""
    T = q.shape[1]
    if T == 1:
        return recurrence(q, k, v, g, beta, scale, state, m, eta)
    q, k, v = (to_chunks(x) for x in (q, k, v))
    g, m, beta, eta = (to_chunks(x[..., None]) for x in (g, m, beta, eta))
    A, a = decays(g)
    M, since = decays(m)
    R, d = a.tril(-1) @ (beta * since), a.tril(-1) @ (beta * M)
    W, c = R + beta * since, d + beta * M

    k_eta = eta * k
    solve = inverse(R * (k @ k_eta.mT))
    y, w = solve @ v, solve @ torch.cat((A * k, d * k), dim=-1)
    writes = torch.cat((W[..., -1, :, None] * k_eta, since[..., -1, :, None] * k_eta), dim=-1)
    Z = states(state, carried(A, c, M, k.shape[-1]) - writes.mT @ w, writes.mT @ y)
    reads = torch.cat((A * q, c * q), dim=-1)
    o = reads @ Z[:-1] + (W * (q @ k_eta.mT)) @ (y - w @ Z[:-1])
    return scale * o.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :T], Z[-1]


def to_chunks(x_BTHX: Tensor) -> Tensor:
    """[B, T, H, X] -> [N, B, H, C, X]; zero rows, which change nothing, fill the last chunk."""
    padded = F.pad(x_BTHX, (0, 0, 0, 0, 0, -x_BTHX.shape[1] % CHUNK))
    return padded.unflatten(1, (-1, CHUNK)).permute(1, 0, 3, 2, 4)


def decays(g_NBHC1: Tensor) -> tuple[Tensor, Tensor]:
    """From the chunk's start to each token [N, B, H, C, 1], and from token j to token i [N, B, H, C, C].

    As in `chunked.HeadDecay`: sums in float64, steps cut off where e^g is zero in any case. From a token to itself
    there is no decay, and no gradient that would have to cancel.
    """
    floor = -800.0 if g_NBHC1.dtype == torch.float64 else -200.0
    total = g_NBHC1.clamp(min=floor).cumsum(-2, dtype=torch.float64)
    future = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=total.device).triu(1)
    between = (total - total.mT).tril(-1).masked_fill(future, -torch.inf)
    return total.to(g_NBHC1.dtype).exp(), between.to(g_NBHC1.dtype).exp()


def carried(A_NBHC1: Tensor, c_NBHC1: Tensor, M_NBHC1: Tensor, K: int) -> Tensor:
    """What a chunk without writes does to Z, [N, B, H, 2K, 2K]: S <- A S + c N, N <- M N."""
    A, c, M = (x[..., -1, 0] for x in (A_NBHC1, c_NBHC1, M_NBHC1))
    pair = torch.stack((torch.stack((A, c), -1), torch.stack((torch.zeros_like(A), M), -1)), -2)
    unit = torch.eye(K, dtype=A.dtype, device=A.device)
    return (pair[..., :, None, :, None] * unit[:, None, :]).flatten(-4, -3).flatten(-2, -1)


def states(Z_BHXV: Tensor, step_NBHXX: Tensor, write_NBHXV: Tensor) -> Tensor:
    """Z before every chunk and after the last, [N + 1, B, H, 2K, V]."""
    found = [Z_BHXV]
    for step, write in zip(step_NBHXX.unbind(), write_NBHXV.unbind(), strict=True):
        found.append(step @ found[-1] + write)
    return torch.stack(found)


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float, state: Tensor, m: Tensor, eta: Tensor
) -> tuple[Tensor, Tensor]:
    """The definition, token by token; `state` is S above N, [B, H, 2K, V]."""
    S, N = state.chunk(2, dim=2)
    decay, keep, rate, step = (x[..., None, None] for x in (g.exp(), m.exp(), beta, eta))
    outputs = []
    for t in range(q.shape[1]):
        S = decay[:, t] * S
        y = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], S)
        N = keep[:, t] * N + step[:, t] * outer(k[:, t], y)
        S = S + rate[:, t] * N
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], S))
    return torch.stack(outputs, dim=1), torch.cat((S, N), dim=2)


_OPERATOR = Recurrence(
    "momentum_delta_rule",
    more={"m": "B T HV", "eta": "B T HV"},
    memories=2,
    chunk=chunk,
    reference=recurrence,
    triton=None,
)


@described_by(Recurrence.__call__)
def momentum_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    m: Tensor,
    eta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The delta rule with momentum: corrections gather in a memory of their own, a share of which is written.

        N_t = exp(m_t) N_{t-1} + eta_t k_t (v_t - S'^T k_t)^T,      S' = exp(g_t) S_{t-1}
        S_t = S' + beta_t N_t
        o_t = scale * S_t^T q_t

    Args:
        beta: Share [B, T, HV] of the gathered corrections that is written.
        m: Natural logarithm of the decay of the momentum, <= 0, [B, T, HV]; with -inf and eta = 1 it is the gated
            delta rule.
        eta: Strength [B, T, HV] of a correction.
        initial_state: State [B, HV, 2K, V] before the first token ([N, HV, 2K, V] when packed), S above N; None is
            zero.
        backend: "chunk" (any device), "reference" (float64, token by token, slow); None picks.

    Source: Huang et al. 2026, "MDN: Parallelizing Stepwise Momentum for Delta Linear Attention" (arXiv 2605.05838);
    N is the paper's momentum with its sign turned.
    """
    return _OPERATOR(
        q, k, v, g, beta, m, eta,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
