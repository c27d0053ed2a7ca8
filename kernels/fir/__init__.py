"""`fir`: its contract, its definition (`reference`) and its implementation (`chunk`)."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import causal_filter
from asiarc.kernels.fir.chunk import chunk
from asiarc.kernels.fir.reference import recurrence

BACKENDS = {"chunk": chunk, "reference": recurrence}


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
    transform leaks rounding). The last tap weighs the current token. Symbols: B batch, T >= 1 tokens, D channels,
    K >= 1 taps, N packed sequences.

    Args:
        x_BTD: Inputs.
        weight_DK: Taps of each channel.
        initial_state: The K-1 inputs before the first token, oldest first, [B, D, K-1] ([N, D, K-1] when
            packed); None is zeros.
        cu_seqlens: Boundaries [N + 1], 0 = c_0 <= ... <= c_N = T, of sequences end to end in a batch of one.
        backend: "chunk" (any device), "reference" (token by token in float64, slow); None picks.

    Returns:
        y_BTD in the dtype of x, and the last K-1 inputs [B, D, K-1] in float32 (float64 for float64 inputs).

    Raises:
        KernelInputError: A shape, dtype, device, boundary or backend outside the above.

    Source: the long convolution of Hyena (Poli et al. 2023, equation 2), finite and explicit.
    """
    return causal_filter(
        "fir", BACKENDS, x_BTD, weight_DK,
        initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
