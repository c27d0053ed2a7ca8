"""`short_convolution`: a causal depthwise filter, its definition (twice) and its way on any device.

On any device it is torch's own convolution over channels that lie last, as in [B, T, D]. Taps then run over contiguous
rows of channels, which is several times as fast as a row a channel, forward and to the inputs. The gradient of the
weight is written out, one product and sum for a few taps: there torch's is slow in either layout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from asiarc.kernels.chunked import without_autocast
from asiarc.kernels.contract import causal_filter, described_by


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
    @without_autocast
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


BACKENDS = {"chunk": chunk, "reference": recurrence}


@described_by(causal_filter)
def short_convolution(
    x_BTD: Tensor,
    weight_DW: Tensor,
    *,
    bias: Tensor | None = None,
    activation: str | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Causal depthwise convolution over few taps, with an optional SiLU.

        y_td = act(bias_d + sum_{w=0..W-1} weight_{d,W-1-w} x_{t-w,d})

    The last tap weighs the current token.

    Args:
        bias: [D], or None.
        activation: "silu" or None.

    Source: the convolution of Mamba (Gu and Dao 2023, section 3.4) and of DeltaNet (Yang et al. 2024, section 3.4).
    """
    return causal_filter(
        "short_convolution", BACKENDS, x_BTD, weight_DW,
        bias=bias, activation=activation, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
