"""`gla`: the recurrence of `definitions` with a decay a key channel and without erasing."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import Recurrence, described_by

_OPERATOR = Recurrence("gla", channel_gate=True)


@described_by(Recurrence.__call__)
def gla(
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
    """Gated linear attention with one decay a key channel.

        S_t = Diag(exp(g_t)) S_{t-1} + k_t v_t^T
        o_t = scale * S_t^T q_t

    Args:
        g: Natural logarithm of the decay of each key channel, <= 0, [B, T, HV, K]; -inf clears the channel.

    Source: Yang et al. 2024, "Gated Linear Attention Transformers with Hardware-Efficient Training",
    equation 3.
    """
    return _OPERATOR(
        q, k, v, g,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
