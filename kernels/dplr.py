"""`dplr`: the recurrence of `definitions` with a decay a key channel, several rows a token and an erased key apart.

In chunks it is `chunked` over all rows; a token decays at its first and is read at its last.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asiarc.kernels.chunked import chunked
from asiarc.kernels.contract import Recurrence, described_by
from asiarc.kernels.definitions import recurrence
from asiarc.kernels.delta_product import over_rows


def chunk(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: None, scale: float, state: Tensor, p: Tensor
) -> tuple[Tensor, Tensor]:
    """See `chunked`; k, v and p have the rows of all tokens, [B, T * n, ...]."""
    if k.shape[1] == q.shape[1]:
        return chunked(q, k, v, g, whole(k), scale, state, p=p)
    q_rows, g_rows, steps = over_rows(q, k, g)
    o, final = chunked(q_rows, k, v, g_rows, whole(k), scale, state, p=p)
    return o[:, steps - 1 :: steps], final


def reference(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: None, scale: float, state: Tensor, p: Tensor
) -> tuple[Tensor, Tensor]:
    """See `definitions.recurrence`."""
    return recurrence(q, k, v, g, whole(k), scale, state, p)


def whole(k_BRHK: Tensor) -> Tensor:
    """The strength of a write that k alone scales: 1 for every row and head."""
    return torch.ones_like(k_BRHK[..., 0])


_OPERATOR = Recurrence(
    "dplr", channel_gate=True, several_rows=True, more={"p": "B R HV K"}, chunk=chunk, reference=reference, triton=None
)


@described_by(Recurrence.__call__)
def dplr(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    p: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The delta rule with an erased key of its own: a transition diagonal plus low rank.

        S_t = G_n(... G_1(Diag(exp(g_t)) S_{t-1})),    G_r(S) = S + k_tr (v_tr - S^T p_tr)^T
        o_t = scale * S_t^T q_t

    With p = b * k and w * v for v it is the gated delta rule 2 (erase gate b and write gate w a channel); with one row
    that erases (v = 0) and one that writes (p = 0) it is the generalised delta rule of RWKV-7.

    Args:
        k: Keys [B, T * n, H, K] under which a row writes, their strength included; n is read off the shapes.
        v: Values [B, T * n, HV, V].
        g: Natural logarithm of the decay of each key channel, <= 0, [B, T, HV, K]; -inf clears the channel.
        p: Keys [B, T * n, HV, K] under which a row reads what it takes away; with p = b * k, b in [0, 2] and ||k|| = 1
            no eigenvalue of a transition is beyond 1.
        backend: "chunk" (any device), "reference" (float64, token by token, slow); None picks.

    Source: Hatamizadeh et al. 2026, "Gated DeltaNet-2" (arXiv 2605.22791); Peng et al. 2025, "RWKV-7" (arXiv
    2503.14456), whose transition is the paper's diagonal plus rank one.
    """
    return _OPERATOR(
        q, k, v, g, None, p,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
