"""The definition of causal linear attention, twice: over tokens, and as one matrix. Meant for float64."""

from __future__ import annotations

import torch
from torch import Tensor

from asiarc.kernels.definitions import decayed_attention, outer, unroll


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t v_t^T."""
    return unroll(lambda S, t: S + outer(k[:, t], v[:, t]), q, scale, state)


def materialised(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """O = tril(Q K^T) V * scale, every decay being one."""
    return decayed_attention(q, k, v, torch.zeros_like(k), scale, state)
