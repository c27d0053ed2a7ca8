"""`linear_attention`: its contract, its definition (`reference`) and its implementation (`chunk`)."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import sequence_operator
from asiarc.kernels.linear_attention.chunk import chunk
from asiarc.kernels.linear_attention.reference import recurrence

BACKENDS = {"chunk": chunk, "reference": recurrence}


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

    Source: Katharopoulos et al. 2020, "Transformers are RNNs", equations 10 to 12, with identity feature map
    and no normaliser; apply a feature map to q and k for others.
    """
    return sequence_operator(
        "linear_attention", BACKENDS, q, k, v,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
