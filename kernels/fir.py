"""`fir`: the filter of `short_convolution`, of any length."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import causal_filter, described_by
from asiarc.kernels.short_convolution import BACKENDS


@described_by(causal_filter)
def fir(
    x_BTD: Tensor,
    weight_DK: Tensor,
    *,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Causal depthwise convolution over many taps (a finite impulse response of each channel).

        y_td = sum_{j=0..K-1} weight_{d,K-1-j} x_{t-j,d}

    `short_convolution` without bias and activation: tap by tap, so that no output knows a future input (a Fourier
    transform leaks rounding). The last tap weighs the current token.

    Args:
        weight_DK: Taps of each channel; K is the W below.

    Source: the long convolution of Hyena (Poli et al. 2023, equation 2), finite and explicit.
    """
    return causal_filter(
        "fir", BACKENDS, x_BTD, weight_DK,
        initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
