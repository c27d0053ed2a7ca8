"""`kda`: the recurrence of `definitions` with a decay a key channel and with erasing."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import Recurrence, described_by

_OPERATOR = Recurrence("kda", channel_gate=True)


@described_by(Recurrence.__call__)
def kda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Kimi delta attention: the gated delta rule with one decay a key channel.

        S_t = S' + beta_t k_t (v_t - S'^T k_t)^T,      S' = Diag(exp(g_t)) S_{t-1}
        o_t = scale * S_t^T q_t

    Args:
        g: Natural logarithm of the decay of each key channel, <= 0, [B, T, HV, K]; -inf clears the channel.

    Source: Kimi Team 2025, "Kimi Linear", equation 1. Normalise k (l2_norm).
    """
    return _OPERATOR(
        q, k, v, g, beta,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
