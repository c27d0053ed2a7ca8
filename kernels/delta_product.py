"""`delta_product`: the recurrence of `definitions` with erasing, several rows a token, and a decay a head if wanted.

In chunks and on a GPU it is the (gated) delta rule over all rows; a token decays at its first and is read at its last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from asiarc.kernels.chunked import chunked
from asiarc.kernels.contract import Recurrence, described_by


def chunk(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """See `chunked`; k, v and beta have the rows of all tokens, [B, T * n, ...]."""
    q_rows, g_rows, steps = over_rows(q, k, g)
    o, final = chunked(q_rows, k, v, g_rows, beta, scale, state)
    return o[:, steps - 1 :: steps], final


def triton(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor | None,
    bounds: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See `blocked`; `bounds` count tokens, not rows."""
    from asiarc.kernels.blocked import blocked

    q_rows, g_rows, steps = over_rows(q, k, g)
    rows = None if bounds is None else [steps * bound for bound in bounds]
    o, final = blocked(q_rows, k, v, g_rows, beta, scale, state, rows)
    return o[:, steps - 1 :: steps], final


def over_rows(q: Tensor, k: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor | None, int]:
    """q and g over the rows of k, and the rows a token: where nothing is read q = 0, where nothing decays g = 0."""
    steps = k.shape[1] // q.shape[1]

    def at_row(x: Tensor, row: int) -> Tensor:
        spread = x.new_zeros(x.shape[0], x.shape[1], steps, *x.shape[2:])
        return spread.index_copy(2, torch.tensor([row], device=x.device), x[:, :, None]).flatten(1, 2)

    return at_row(q, steps - 1), None if g is None else at_row(g, 0), steps


_OPERATOR = Recurrence("delta_product", chunk=chunk, triton=triton, several_rows=True)


@described_by(Recurrence.__call__)
def delta_product(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The delta product: n delta-rule steps a token.

        S_t = G_n(... G_1(exp(g_t) S_{t-1})),    G_r(S) = S + beta_tr k_tr (v_tr - S^T k_tr)^T
        o_t = scale * S_t^T q_t

    A transition is a product of n (generalised) Householder matrices, which reach any rotation as n grows.

    Args:
        k: Keys [B, T * n, H, K], the n rows of a token in a row; n is read off the shapes.
        v: Values [B, T * n, HV, V].
        beta: Writing strengths [B, T * n, HV]; up to 2, where a step is a reflection (eigenvalue -1).
        g: Natural logarithm of one decay a token, <= 0, [B, T, HV]; None is no decay.

    Source: Siems et al. 2025, "DeltaProduct", equation 4; with g, the gated variant of the same paper.
    """
    return _OPERATOR(
        q, k, v, g, beta,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
