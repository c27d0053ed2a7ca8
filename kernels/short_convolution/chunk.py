"""A causal depthwise filter on any device: torch's own convolution over channels that lie last, as in [B, T, D].

Taps then run over contiguous rows of channels, which is several times as fast as a row a channel, forward and to the
inputs. The gradient of the weight is written out, one product and sum for a few taps: there torch's is slow in
either layout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

AT_ONCE = 2**16
"""Products in one sum of the gradient of the weight, at least one tap's."""


def channels_last(x_BTD: Tensor) -> Tensor:
    """[B, D, 1, T], as convolutions take it, in the memory of [B, T, D]."""
    return x_BTD.mT[:, :, None]


class Filter(torch.autograd.Function):
    """y_t = sum_w weight_w * inputs_{t+w} for inputs [B, T + W - 1, D] and weight [D, W]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight_DW: Tensor) -> Tensor:
        """Returns y [B, T, D]."""
        ctx.save_for_backward(inputs, weight_DW)
        y = F.conv2d(channels_last(inputs), weight_DW[:, None, None], groups=len(weight_DW))
        return y[:, :, 0].mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients of inputs and weight."""
        inputs, weight_DW = ctx.saved_tensors
        D, dy = len(weight_DW), dy.contiguous()
        dinputs = torch.ops.aten.convolution_backward(
            channels_last(dy), channels_last(inputs), weight_DW[:, None, None], None,
            [1, 1], [0, 0], [1, 1], False, [0, 0], D, [True, False, False],
        )[0]  # fmt: skip
        windows, few = inputs.unfold(1, dy.shape[1], 1).mT, max(1, AT_ONCE // dy.numel())
        dweight = [(some * dy[:, None]).sum((0, 2)) for some in windows.split(few, dim=1)]
        return dinputs[:, :, 0].mT, torch.cat(dweight).mT


def chunk(x_BTD: Tensor, weight_DW: Tensor, state_BDP: Tensor) -> tuple[Tensor, Tensor]:
    """Put the state before the inputs and filter; P = W - 1."""
    inputs = torch.cat((state_BDP.mT, x_BTD), dim=1)
    return Filter.apply(inputs, weight_DW), inputs[:, x_BTD.shape[1] :].mT
