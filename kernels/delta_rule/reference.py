"""The definition of the delta rule, twice: over tokens, and as one matrix. Meant for float64."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.definitions import erased, pull_back, unroll, written


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T."""
    assert beta is not None
    return unroll(lambda S, t: written(S, k[:, t], v[:, t], beta[:, t]), q, scale, state)


def materialised(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T as one matrix of products of transitions."""
    assert beta is not None
    return pull_back(lambda x, j: erased(x, k[:, j], beta[:, j]), beta[..., None] * k, q, v, scale, state)
