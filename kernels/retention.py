"""`retention`: the recurrence of `definitions` with a fixed decay a head and without erasing."""

from __future__ import annotations

import torch
from torch import Tensor

from asiarc.kernels.contract import Recurrence, described_by

_OPERATOR = Recurrence("retention")


@described_by(Recurrence.__call__)
def retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Retention: linear attention whose heads forget at fixed rates.

        S_t = gamma_h S_{t-1} + k_t v_t^T,      gamma_h = 1 - 2^(-5-h),   h = 0 .. HV-1
        o_t = scale * S_t^T q_t

    Source: Sun et al. 2023, "Retentive Network", equations 5 and 6; rotation of q and k, group norm and output
    gate are left to the caller.
    """
    return _OPERATOR(
        q, k, v, log_decay(q, v),
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip


def log_decay(q_BTHK: Tensor, v_BTHV: Tensor) -> Tensor | None:
    """log(1 - 2^(-5-h)) for every token and value head, [B, T, HV]; None for shapes that the contract refuses."""
    if not isinstance(v_BTHV, Tensor) or not isinstance(q_BTHK, Tensor) or v_BTHV.dim() != 4:
        return None
    dtype = torch.float64 if v_BTHV.dtype == torch.float64 else torch.float32
    heads = torch.arange(v_BTHV.shape[2], dtype=dtype, device=v_BTHV.device)
    return torch.log1p(-torch.exp2(-5 - heads)).expand(v_BTHV.shape[:3])
