"""`linear_attention`: the recurrence of `definitions` without decay and without erasing."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import Recurrence, described_by

_OPERATOR = Recurrence("linear_attention")


@described_by(Recurrence.__call__)
def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Causal linear attention.

        S_t = S_{t-1} + k_t v_t^T
        o_t = scale * S_t^T q_t

    Source: Katharopoulos et al. 2020, "Transformers are RNNs", equations 10 to 12, with identity feature map
    and no normaliser; apply a feature map to q and k for others.
    """
    return _OPERATOR(
        q, k, v,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
