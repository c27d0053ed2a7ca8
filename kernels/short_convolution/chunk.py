"""`short_convolution` on any device: one shifted multiply-add a tap, over the whole sequence at once.

Taps run over contiguous rows of channels, which suits the memory of [B, T, D]. The backward pass is written out because
autograd would fill one array of zeros a tap.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class ShiftedSum(torch.autograd.Function):
    """y_t = sum_w weight_w * inputs_{t+w} for inputs [B, T + W - 1, D] and weight [D, W]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight_DW: Tensor) -> Tensor:
        """Returns y [B, T, D]."""
        ctx.save_for_backward(inputs, weight_DW)
        taps = weight_DW.unbind(1)
        T = inputs.shape[1] - len(taps) + 1
        y = inputs[:, :T] * taps[0]
        for w, tap in enumerate(taps[1:], start=1):
            y.addcmul_(inputs[:, w : w + T], tap)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients of inputs and weight."""
        inputs, weight_DW = ctx.saved_tensors
        T, taps = dy.shape[1], weight_DW.unbind(1)
        dinputs = torch.zeros_like(inputs)
        for w, tap in enumerate(taps):
            dinputs[:, w : w + T].addcmul_(dy, tap)
        dweight = [(inputs[:, w : w + T] * dy).sum((0, 1)) for w in range(len(taps))]
        return dinputs, torch.stack(dweight, dim=1)


def chunk(x_BTD: Tensor, weight_DW: Tensor, state_BDP: Tensor) -> tuple[Tensor, Tensor]:
    """Put the state before the inputs and sum; P = W - 1."""
    inputs = torch.cat((state_BDP.mT, x_BTD), dim=1)
    return ShiftedSum.apply(inputs, weight_DW), inputs[:, x_BTD.shape[1] :].mT
