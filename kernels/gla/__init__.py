"""`gla`: its contract, its definition (`reference`) and its implementation (`chunk`)."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import sequence_operator
from asiarc.kernels.gla.chunk import chunk
from asiarc.kernels.gla.reference import recurrence

BACKENDS = {"chunk": chunk, "reference": recurrence}


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

    Symbols: B batch, T >= 1 tokens, H key heads, HV value heads (a multiple of H; each key head serves HV/H of
    them in a row), K key channels, V value channels, N packed sequences.

    Args:
        q: Queries [B, T, H, K].
        k: Keys [B, T, H, K].
        v: Values [B, T, HV, V].
        g: Natural logarithm of the decay of each key channel, <= 0, [B, T, HV, K]; -inf clears the channel.
        scale: Factor on the output; None is K**-0.5.
        initial_state: State [B, HV, K, V] before the first token ([N, HV, K, V] when packed); None is zero.
        cu_seqlens: Boundaries [N + 1], 0 = c_0 <= ... <= c_N = T, of sequences end to end in a batch of one.
        backend: "chunk" (any device), "triton" (CUDA), "reference" (float64, token by token, slow); None picks.

    Returns:
        o [B, T, HV, V] in the dtype of v, and the final state, shaped as the initial one, in float32 (float64
        for float64 inputs). Both are differentiable in every input, once ("reference": any number of times).

    Raises:
        KernelInputError: A shape, dtype, device, sign of g, boundary or backend outside the above.

    Takes float32, bfloat16, float16 and float64 (q, k, v alike) and computes in float32, float64 for float64.

    Source: Yang et al. 2024, "Gated Linear Attention Transformers with Hardware-Efficient Training",
    equation 3.
    """
    return sequence_operator(
        "gla", BACKENDS, q, k, v, g,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend, channel_gate=True,
    )  # fmt: skip
