"""The definition of the causal depthwise filter, twice: over tokens, and as one matrix. Meant for float64."""

from __future__ import annotations

import torch
from torch import Tensor


def recurrence(x_BTD: Tensor, weight_DW: Tensor, state_BDP: Tensor) -> tuple[Tensor, Tensor]:
    """Slide a window of the last W inputs over the sequence; P = W - 1."""
    window = state_BDP
    outputs = []
    for t in range(x_BTD.shape[1]):
        window = torch.cat((window, x_BTD[:, t, :, None]), dim=-1)
        outputs.append((window * weight_DW).sum(-1))
        window = window[..., 1:]
    return torch.stack(outputs, dim=1), window


def materialised(x_BTD: Tensor, weight_DW: Tensor, state_BDP: Tensor) -> tuple[Tensor, Tensor]:
    """y_d = M_d [state_d; x_d] with the banded Toeplitz matrix M_d,ij = weight_d,j-i for 0 <= j-i < W."""
    T, W = x_BTD.shape[1], weight_DW.shape[1]
    inputs = torch.cat((state_BDP, x_BTD.mT), dim=-1)
    lag = torch.arange(T + W - 1, device=x_BTD.device) - torch.arange(T, device=x_BTD.device)[:, None]
    inside = (lag >= 0) & (lag < W)
    M = torch.where(inside, weight_DW[:, lag.clamp(0, W - 1)], 0.0)
    return torch.einsum("dij,bdj->bid", M, inputs), inputs[..., T:]
