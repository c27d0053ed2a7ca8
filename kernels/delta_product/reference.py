"""The definition of the (gated) delta product, twice: over tokens, and as one matrix. Meant for float64."""

from __future__ import annotations

import torch
from torch import Tensor

from asiarc.kernels.definitions import erased, pull_back, unroll, written


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Per token one decay exp(g_t), then n delta-rule steps; k, v and beta hold n rows a token."""
    assert beta is not None
    steps = k.shape[1] // q.shape[1]

    def token(S: Tensor, t: int) -> Tensor:
        S = S if g is None else g[:, t, :, None, None].exp() * S
        for r in range(t * steps, (t + 1) * steps):
            S = written(S, k[:, r], v[:, r], beta[:, r])
        return S

    return unroll(token, q, scale, state)


def materialised(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The matrix over all n T rows, read at the last row of each token."""
    assert beta is not None
    steps = k.shape[1] // q.shape[1]

    def transpose(x: Tensor, r: int) -> Tensor:
        x = erased(x, k[:, r], beta[:, r])
        return x if g is None or r % steps else g[:, r // steps, :, None].exp()[:, None] * x

    readers = torch.zeros_like(k)
    readers[:, steps - 1 :: steps] = q
    o, final = pull_back(transpose, beta[..., None] * k, readers, v, scale, state)
    return o[:, steps - 1 :: steps], final
