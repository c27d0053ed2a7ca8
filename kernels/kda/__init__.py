"""`kda`: its contract, its definition (`reference`) and its implementation (`chunk`)."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import sequence_operator
from asiarc.kernels.kda.chunk import chunk
from asiarc.kernels.kda.reference import recurrence

BACKENDS = {"chunk": chunk, "reference": recurrence}


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

    Symbols: B batch, T >= 1 tokens, H key heads, HV value heads (a multiple of H; each key head serves HV/H of
    them in a row), K key channels, V value channels, N packed sequences.

    Args:
        q: Queries [B, T, H, K].
        k: Keys [B, T, H, K].
        v: Values [B, T, HV, V].
        g: Natural logarithm of the decay of each key channel, <= 0, [B, T, HV, K]; -inf clears the channel.
        beta: Writing strength [B, T, HV]; in [0, 2] and with ||k|| = 1 the state does not expand.
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

    Source: Kimi Team 2025, "Kimi Linear", equation 1. Normalise k (l2_norm).
    """
    return sequence_operator(
        "kda", BACKENDS, q, k, v, g, beta,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend, channel_gate=True,
    )  # fmt: skip
