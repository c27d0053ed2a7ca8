"""`gated_delta_rule`: the recurrence of `definitions` with a decay a head and with erasing."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import Recurrence, described_by

_OPERATOR = Recurrence("gated_delta_rule")


@described_by(Recurrence.__call__)
def gated_delta_rule(
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
    """The gated delta rule: decay the state, then overwrite under the key.

        S_t = S' + beta_t k_t (v_t - S'^T k_t)^T,      S' = exp(g_t) S_{t-1}
        o_t = scale * S_t^T q_t

    Source: Yang et al. 2025, "Gated Delta Networks", equation 10 (state transposed). Normalise k (l2_norm).
    """
    return _OPERATOR(
        q, k, v, g, beta,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
