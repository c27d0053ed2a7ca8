"""short_convolution on any device: one shifted multiply-add a tap, over the whole sequence at once."""

from __future__ import annotations

import torch
from torch import Tensor


def chunk(x_BTD: Tensor, weight_DW: Tensor, state_BDP: Tensor) -> tuple[Tensor, Tensor]:
    """Taps run over contiguous rows of channels, which suits the memory of [B, T, D]; P = W - 1."""
    T, W = x_BTD.shape[1], weight_DW.shape[1]
    inputs = torch.cat((state_BDP.mT, x_BTD), dim=1)
    y = inputs[:, :T] * weight_DW[:, 0]
    for w in range(1, W):
        y = torch.addcmul(y, inputs[:, w : w + T], weight_DW[:, w])
    return y, inputs[:, T:].mT
