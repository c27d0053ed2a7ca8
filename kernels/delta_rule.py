"""`delta_rule`: the recurrence of `definitions` with erasing and without decay."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import Recurrence, described_by

_OPERATOR = Recurrence("delta_rule")


@described_by(Recurrence.__call__)
def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The delta rule: each key overwrites what the state says of it.

        S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T
        o_t = scale * S_t^T q_t

    Source: Schlag et al. 2021, "Linear Transformers Are Secretly Fast Weight Programmers", equations 23
    and 24; in chunks, Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule", equations 8 to
    11. Normalise k (l2_norm).
    """
    return _OPERATOR(
        q, k, v, None, beta,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
