"""`retention`: its contract, its definition (`reference`) and its implementation (`chunk`)."""

from __future__ import annotations

import torch
from torch import Tensor

from asiarc.kernels.contract import sequence_operator
from asiarc.kernels.retention.chunk import chunk
from asiarc.kernels.retention.reference import recurrence

BACKENDS = {"chunk": chunk, "reference": recurrence}


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

    Symbols: B batch, T >= 1 tokens, H key heads, HV value heads (a multiple of H; each key head serves HV/H of
    them in a row), K key channels, V value channels, N packed sequences.

    Args:
        q: Queries [B, T, H, K].
        k: Keys [B, T, H, K].
        v: Values [B, T, HV, V].
        scale: Factor on the output; None is K**-0.5.
        initial_state: State [B, HV, K, V] before the first token ([N, HV, K, V] when packed); None is zero.
        cu_seqlens: Boundaries [N + 1], 0 = c_0 <= ... <= c_N = T, of sequences end to end in a batch of one.
        backend: "chunk" (any device), "triton" (CUDA), "reference" (float64, token by token, slow); None picks.

    Returns:
        o [B, T, HV, V] in the dtype of v, and the final state, shaped as the initial one, in float32 (float64
        for float64 inputs). Both are differentiable in every input, once ("reference": any number of times).

    Raises:
        KernelInputError: A shape, dtype, device, boundary or backend outside the above.

    Takes float32, bfloat16, float16 and float64 (q, k, v alike) and computes in float32, float64 for float64.

    Source: Sun et al. 2023, "Retentive Network", equations 5 and 6; rotation of q and k, group norm and output
    gate are left to the caller.
    """
    return sequence_operator(
        "retention", BACKENDS, q, k, v, log_decay(q, v),
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip


def log_decay(q_BTHK: Tensor, v_BTHV: Tensor) -> Tensor | None:
    """log(1 - 2^(-5-h)) for every token and value head, [B, T, HV]; None for shapes that the contract refuses."""
    if not isinstance(v_BTHV, Tensor) or not isinstance(q_BTHK, Tensor) or v_BTHV.dim() != 4:
        return None
    dtype = torch.float64 if v_BTHV.dtype == torch.float64 else torch.float32
    heads = torch.arange(v_BTHV.shape[2], dtype=dtype, device=v_BTHV.device)
    return torch.log1p(-torch.exp2(-5 - heads)).expand(v_BTHV.shape[:3])
