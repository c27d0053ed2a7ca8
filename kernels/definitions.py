"""What the references share: unrolling a recurrence over tokens, and writing the same operator as one matrix.

Every operator of this family reads o_t = scale * q_t^T S_t off a state S in R^{K x V}. The two ways to define it
are independent: `unroll` carries the state forward and never forms a token-by-token matrix; `decay_matrix` and
`pull_back` build that matrix and never form a state. They must agree before anything is tested against either.

Axes: B batch, T tokens, H heads, K key channels, V value channels; i the reading token, j the writing one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def unroll(
    update: Callable[[Tensor, int], Tensor], q_BTHK: Tensor, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = update(S_{t-1}, t), o_t = scale * q_t^T S_t."""
    outputs = []
    for t in range(q_BTHK.shape[1]):
        state = update(state, t)
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q_BTHK[:, t], state))
    return torch.stack(outputs, dim=1), state


def outer(k_BHK: Tensor, v_BHV: Tensor) -> Tensor:
    """k v^T for every batch and head."""
    return k_BHK[..., :, None] * v_BHV[..., None, :]


def decay_matrix(g_BTHK: Tensor) -> tuple[Tensor, Tensor]:
    """Products of decays, never differences of sums: from j (exclusive) to i, and from the start to i.

    Returns ([B, T, T, H, K], zero above the diagonal, and [B, T, H, K]).
    """
    alpha = g_BTHK.exp()
    row = torch.zeros_like(alpha)
    since_start = torch.ones_like(alpha[:, 0])
    rows, starts = [], []
    for i in range(g_BTHK.shape[1]):
        here = torch.arange(g_BTHK.shape[1], device=g_BTHK.device)[:, None, None] == i
        row = torch.where(here, 1.0, row * alpha[:, i, None])
        since_start = since_start * alpha[:, i]
        rows.append(row)
        starts.append(since_start)
    return torch.stack(rows, dim=1), torch.stack(starts, dim=1)


def decayed_attention(
    q: Tensor, k: Tensor, v: Tensor, g_BTHK: Tensor, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """o_i = scale * sum_{j<=i} <q_i, decay_ij * k_j> v_j + scale * (decay_i0 * q_i)^T S_0, weights all at once."""
    decay, since_start = decay_matrix(g_BTHK)
    weights = scale * torch.einsum("bihk,bijhk,bjhk->bhij", q, decay, k)
    o = torch.einsum("bhij,bjhv->bihv", weights, v)
    o = o + scale * torch.einsum("bihk,bhkv->bihv", q * since_start, state)
    final = torch.einsum("bjhk,bjhv->bhkv", decay[:, -1] * k, v) + since_start[:, -1, :, :, None] * state
    return o, final


def pull_back(
    transpose: Callable[[Tensor, int], Tensor],
    write_BTHK: Tensor,
    q: Tensor,
    v: Tensor,
    scale: float,
    state: Tensor,
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


def written(state: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """One delta-rule step: the value read under k moves towards v by the share beta."""
    read = torch.einsum("bhk,bhkv->bhv", k, state)
    return state + outer(beta[..., None] * k, v - read)


def erased(x_BRHK: Tensor, k: Tensor, beta: Tensor) -> Tensor:
    """(I - beta k k^T) x, the transition of a delta-rule step (and its transpose), for every reader x."""
    return x_BRHK - (beta[..., None] * k)[:, None] * (x_BRHK * k[:, None]).sum(-1, keepdim=True)
