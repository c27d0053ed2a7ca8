"""`delta_product`: its contract, its definition (`reference`) and its implementation (`chunk`)."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import refuse, sequence_operator
from asiarc.kernels.delta_product.chunk import chunk
from asiarc.kernels.delta_product.reference import recurrence

BACKENDS = {"chunk": chunk, "reference": recurrence}


def delta_product(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The delta product: n delta-rule steps a token.

        S_t = G_n(... G_1(exp(g_t) S_{t-1})),    G_r(S) = S + beta_tr k_tr (v_tr - S^T k_tr)^T
        o_t = scale * S_t^T q_t

    A transition is a product of n (generalised) Householder matrices, which reach any rotation as n grows.

    Symbols: B batch, T >= 1 tokens, H key heads, HV value heads (a multiple of H; each key head serves HV/H of
    them in a row), K key channels, V value channels, N packed sequences.

    Args:
        q: Queries [B, T, H, K].
        k: Keys [B, T * n, H, K], the n rows of a token in a row; n is read off the shapes.
        v: Values [B, T * n, HV, V].
        beta: Writing strengths [B, T * n, HV]; up to 2, where a step is a reflection (eigenvalue -1).
        g: Natural logarithm of one decay a token, <= 0, [B, T, HV]; None is no decay.
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

    Source: Siems et al. 2025, "DeltaProduct", equation 4; with g, the gated variant of the same paper.
    """
    rows, tokens = (x.shape[1] if isinstance(x, Tensor) and x.dim() == 4 else 0 for x in (k, q))
    if tokens and (rows < tokens or rows % tokens):
        raise refuse("delta_product", "the number of rows of k", rows, f"a multiple of the {tokens} of q")
    return sequence_operator(
        "delta_product", BACKENDS, q, k, v, g, beta, steps=rows // max(tokens, 1),
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
