"""The definition of Kimi delta attention, twice: over tokens, and as one matrix. Meant for float64."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.definitions import erased, pull_back, unroll, written


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = S' + beta_t k_t (v_t - S'^T k_t)^T with S' = Diag(exp(g_t)) S_{t-1}."""
    assert g is not None and beta is not None
    decay = g.exp()[..., None]
    return unroll(lambda S, t: written(decay[:, t] * S, k[:, t], v[:, t], beta[:, t]), q, scale, state)


def materialised(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = (I - beta_t k_t k_t^T) Diag(exp(g_t)) S_{t-1} + beta_t k_t v_t^T as a matrix of products of transitions."""
    assert g is not None and beta is not None
    decay = g.exp()[:, :, None]
    return pull_back(
        lambda x, j: decay[:, j] * erased(x, k[:, j], beta[:, j]), beta[..., None] * k, q, v, scale, state
    )
