"""The definition of `simple_gla`, twice: over tokens, and as one matrix. Meant for float64."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.definitions import decayed_attention, outer, unroll


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = exp(g_t) S_{t-1} + k_t v_t^T."""
    assert g is not None
    return unroll(lambda S, t: g[:, t, :, None, None].exp() * S + outer(k[:, t], v[:, t]), q, scale, state)


def materialised(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """O = (Q K^T * D) V * scale with D_ij = exp(g_{j+1} + ... + g_i) for i >= j."""
    assert g is not None
    return decayed_attention(q, k, v, g[..., None].expand_as(k), scale, state)
