"""The definition of l2_norm, twice: by its formula, and by torch's own norm. Meant for float64."""

from __future__ import annotations

import torch
from torch import Tensor


def formula(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(<x, x> + eps)."""
    return x / torch.sqrt(torch.einsum("...d,...d->...", x, x)[..., None] + eps)


def by_norm(x: Tensor, eps: float) -> Tensor:
    """x / || [x, sqrt(eps)] ||."""
    longer = torch.cat((x, torch.full_like(x[..., :1], eps**0.5)), dim=-1)
    return x / torch.linalg.vector_norm(longer, dim=-1, keepdim=True)
