"""What the operators with a matrix state compute, defined twice. Meant for float64.

Every operator of this family carries a state S in R^{K x V} through the rows of a token, and then reads it:

    S' = e^{g_t} S_{t-1}                            (nothing, one number a head, or one a key channel)
    S <- S + k_tr v_tr^T                            (without erasing), or
    S <- S + beta_tr k_tr (v_tr - S^T p_tr)^T       (with erasing, p = k unless given), for each row r of the token
    o_t = scale * S_t^T q_t

The two definitions are independent: `recurrence` carries the state forward and never forms a token-by-token matrix;
`materialised` builds that matrix and never forms a state. They must agree before anything is tested against either.

Axes: B batch, T tokens, H heads, K key channels, V value channels; i the reading token, j the writing one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor,
    p: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Token by token; q [B, T, H, K], g [B, T, H(, K)]; k, v, beta and p with n rows a token; state [B, H, K, V].

    Returns o [B, T, H, V] and the final state; differentiable any number of times.
    """
    steps, decay, outputs = k.shape[1] // q.shape[1], factors(g), []
    for t in range(q.shape[1]):
        state = state if decay is None else decay[:, t, ..., None] * state
        for r in range(t * steps, (t + 1) * steps):
            strength, erased_key = (None if x is None else x[:, r] for x in (beta, p))
            state = written(state, k[:, r], v[:, r], strength, erased_key)
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state


def materialised(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor,
    p: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same as one matrix from all rows to all tokens, of products of decays or of transitions."""
    decay = factors(g)
    if beta is None:
        return decayed_attention(q, k, v, torch.ones_like(k) if decay is None else decay, scale, state)
    steps, erased_keys = k.shape[1] // q.shape[1], k if p is None else p

    def transpose(x: Tensor, r: int) -> Tensor:
        x = erased(x, k[:, r], beta[:, r], erased_keys[:, r])
        return x if decay is None or r % steps else decay[:, r // steps, None] * x

    readers = torch.zeros_like(k)
    readers[:, steps - 1 :: steps] = q
    o, final = pull_back(transpose, beta[..., None] * k, readers, v, scale, state)
    return o[:, steps - 1 :: steps], final


def factors(g: Tensor | None) -> Tensor | None:
    """e^g as [B, T, H, 1 or K]."""
    return None if g is None else (g if g.dim() == 4 else g[..., None]).exp()


def outer(k_BHK: Tensor, v_BHV: Tensor) -> Tensor:
    """k v^T for every batch and head."""
    return k_BHK[..., :, None] * v_BHV[..., None, :]


def written(state: Tensor, k: Tensor, v: Tensor, beta: Tensor | None, p: Tensor | None = None) -> Tensor:
    """One row's write: v is added under k; with beta, the value read under k (or p) moves towards v by that share."""
    if beta is None:
        return state + outer(k, v)
    read = torch.einsum("bhk,bhkv->bhv", k if p is None else p, state)
    return state + outer(beta[..., None] * k, v - read)


def erased(x_BRHK: Tensor, k: Tensor, beta: Tensor, p: Tensor) -> Tensor:
    """(I - beta p k^T) x, the transpose of a delta-rule step's transition, for every reader x."""
    return x_BRHK - (beta[..., None] * p)[:, None] * (x_BRHK * k[:, None]).sum(-1, keepdim=True)


def decay_matrix(alpha_BTHK: Tensor) -> tuple[Tensor, Tensor]:
    """Products of decays, never differences of sums: from j (exclusive) to i, and from the start to i.

    Returns ([B, T, T, H, K], zero above the diagonal, and [B, T, H, K]).
    """
    alpha = alpha_BTHK
    row = torch.zeros_like(alpha)
    since_start = torch.ones_like(alpha[:, 0])
    rows, starts = [], []
    for i in range(alpha.shape[1]):
        here = torch.arange(alpha.shape[1], device=alpha.device)[:, None, None] == i
        row = torch.where(here, 1.0, row * alpha[:, i, None])
        since_start = since_start * alpha[:, i]
        rows.append(row)
        starts.append(since_start)
    return torch.stack(rows, dim=1), torch.stack(starts, dim=1)


def decayed_attention(
    q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """o_i = scale * sum_{j<=i} <q_i, decay_ij * k_j> v_j + scale * (decay_i0 * q_i)^T S_0, weights all at once."""
    decay, since_start = decay_matrix(alpha.expand_as(k))
    weights = scale * torch.einsum("bihk,bijhk,bjhk->bhij", q, decay, k)
    o = torch.einsum("bhij,bjhv->bihv", weights, v)
    o = o + scale * torch.einsum("bihk,bhkv->bihv", q * since_start, state)
    final = torch.einsum("bjhk,bjhv->bhkv", decay[:, -1] * k, v) + since_start[:, -1, :, :, None] * state
    return o, final


def pull_back(
    transpose: Callable[[Tensor, int], Tensor], write_BTHK: Tensor, q: Tensor, v: Tensor, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The matrix of S_t = A_t S_{t-1} + b_t v_t^T, by pulling every reader back through the transitions.

    `transpose(x, j)` is A_j^T x for x of shape [B, R, H, K]; `write` holds b. The readers are the T queries and, at
    the end of the sequence, the K unit vectors, whose readings are the final state.
    """
    B, T, H, K = q.shape
    unit = torch.eye(K, dtype=q.dtype, device=q.device)[None, :, None].expand(B, K, H, K)
    reader = torch.cat((scale * q, unit), dim=1)
    born = torch.cat((torch.arange(T), torch.full((K,), T - 1))).to(q.device)
    weights = []
    for j in reversed(range(T)):
        alive = (born >= j)[:, None]
        weights.append(torch.where(alive, torch.einsum("brhk,bhk->brh", reader, write_BTHK[:, j]), 0.0))
        reader = torch.where(alive[..., None], transpose(reader, j), reader)
    weights_BRHT = torch.stack(weights[::-1], dim=-1)
    read = torch.einsum("brhj,bjhv->brhv", weights_BRHT, v) + torch.einsum("brhk,bhkv->brhv", reader, state)
    return read[:, :T], read[:, T:].transpose(1, 2)
