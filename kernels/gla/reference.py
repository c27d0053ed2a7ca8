"""The definition of `gla`, twice: over tokens, and as one matrix. Meant for float64."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.definitions import decayed_attention, outer, unroll


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = Diag(exp(g_t)) S_{t-1} + k_t v_t^T."""
    assert g is not None
    return unroll(lambda S, t: g[:, t, :, :, None].exp() * S + outer(k[:, t], v[:, t]), q, scale, state)


def materialised(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights W_ij = scale * sum_c q_ic k_jc exp(g_{j+1,c} + ... + g_{i,c}) for i >= j."""
    assert g is not None
    return decayed_attention(q, k, v, g, scale, state)
