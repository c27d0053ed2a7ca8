"""`l2_norm`: its contract, its computation and, for float64, its definition twice."""

from __future__ import annotations

import torch
from torch import Tensor

from asiarc.kernels.contract import check_tensor


def l2_norm(x: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Scale every vector of the last axis to (almost) unit length; differentiable any number of times.

        y = x / sqrt(sum_d x_d^2 + eps)

    Args:
        x: [..., D], any strides.
        eps: Added under the root; a zero vector stays zero, with gradient 1 / sqrt(eps).

    Returns:
        y of the shape and dtype of x; the sum is float32 at least.

    Raises:
        KernelInputError: x is no tensor of float32, bfloat16, float16 or float64, or has no axis.

    Source: the query and key normalisation of Yang et al. 2024, "Parallelizing Linear Transformers with the Delta
    Rule", section 3.4.
    """
    axes = max(x.dim(), 1) if isinstance(x, Tensor) else 1
    check_tensor("l2_norm", "x", x, (None,) * axes, "[..., D]")
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) + eps)).to(x.dtype)


def formula(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(<x, x> + eps)."""
    return x / torch.sqrt(torch.einsum("...d,...d->...", x, x)[..., None] + eps)


def by_norm(x: Tensor, eps: float) -> Tensor:
    """x / || [x, sqrt(eps)] ||."""
    longer = torch.cat((x, torch.full_like(x[..., :1], eps**0.5)), dim=-1)
    return x / torch.linalg.vector_norm(longer, dim=-1, keepdim=True)
