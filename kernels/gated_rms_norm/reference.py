"""The definition of gated_rms_norm, twice: by its formula, and by torch's own parts. Meant for float64."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def formula(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(<x, x> / D + eps) * weight * gate / (1 + exp(-gate))."""
    mean_square = torch.einsum("...d,...d->...", x, x)[..., None] / x.shape[-1]
    return x / torch.sqrt(mean_square + eps) * weight * gate / (1 + torch.exp(-gate))


def by_parts(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """torch's rms_norm, then torch's silu."""
    return F.rms_norm(x, x.shape[-1:], weight, eps) * F.silu(gate)
