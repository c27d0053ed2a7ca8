"""`simple_gla`: the recurrence of `definitions` with a decay a head and without erasing."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import Recurrence, described_by

_OPERATOR = Recurrence("simple_gla")


@described_by(Recurrence.__call__)
def simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Gated linear attention with one decay a head, the state-space dual (SSD) of Mamba2.

        S_t = exp(g_t) S_{t-1} + k_t v_t^T
        o_t = scale * S_t^T q_t

    Source: Dao and Gu 2024, "Transformers are SSMs", equation 2 with scalar A: q = C, k = B, v = dt * x,
    g = dt * A (scale=1 there).
    """
    return _OPERATOR(
        q, k, v, g,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
