"""`gated_rms_norm`: its contract, its computation and, for float64, its definition twice."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asiarc.kernels.contract import check_tensor


def gated_rms_norm(x: Tensor, gate: Tensor, weight: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Divide the last axis by its root mean square, weigh it, gate it; differentiable any number of times.

        y = x / sqrt(mean_d x_d^2 + eps) * weight * silu(gate),      silu(a) = a / (1 + exp(-a))

    Args:
        x: [..., D], any strides.
        gate: Of the shape of x.
        weight: [D].
        eps: Added under the root.

    Returns:
        y of the shape and dtype of x; the arithmetic is float32 at least.

    Raises:
        KernelInputError: A shape, dtype or device outside the above.

    Source: the output norm of Gated DeltaNet (Yang et al. 2025, section 3.3); RMSNorm is Zhang and Sennrich 2019.
    """
    axes = max(x.dim(), 1) if isinstance(x, Tensor) else 1
    check_tensor("gated_rms_norm", "x", x, (None,) * axes, "[..., D]")
    check_tensor("gated_rms_norm", "gate", gate, x.shape, "the shape of x", x)
    check_tensor("gated_rms_norm", "weight", weight, x.shape[-1:], "[D]", x)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    wide = x.to(dtype)
    unit = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (unit * weight.to(dtype) * F.silu(gate.to(dtype))).to(x.dtype)


def formula(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(<x, x> / D + eps) * weight * gate / (1 + exp(-gate))."""
    mean_square = torch.einsum("...d,...d->...", x, x)[..., None] / x.shape[-1]
    return x / torch.sqrt(mean_square + eps) * weight * gate / (1 + torch.exp(-gate))


def by_parts(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """torch's rms_norm, then torch's silu."""
    return F.rms_norm(x, x.shape[-1:], weight, eps) * F.silu(gate)
