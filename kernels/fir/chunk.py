"""fir on any device: per channel, chunks of tokens and what came before them times one banded Toeplitz matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 64


def chunk(x_BTD: Tensor, weight_DK: Tensor, state_BDP: Tensor) -> tuple[Tensor, Tensor]:
    """y[d] = windows[d] @ toeplitz[d]; a window holds a chunk and the P = K - 1 inputs before it."""
    (B, T, D), K, C = x_BTD.shape, weight_DK.shape[1], CHUNK
    inputs = torch.cat((state_BDP, x_BTD.mT), dim=-1)
    padded = F.pad(inputs, (0, -T % C))
    windows = padded.unfold(-1, C + K - 1, C).transpose(0, 1).reshape(D, -1, C + K - 1)
    # Repeating [weight, C zeros] and cutting rows one shorter moves each row one place on: a Toeplitz band.
    flat = F.pad(weight_DK, (0, C)).repeat(1, C)[:, : C * (C + K - 1)]
    toeplitz = flat.view(D, C, C + K - 1)
    y = (windows @ toeplitz.mT).view(D, B, -1).permute(1, 2, 0)
    return y[:, :T], inputs[..., T:]
