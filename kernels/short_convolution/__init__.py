"""`short_convolution`: its contract, its definition (`reference`) and its implementation (`chunk`)."""

from __future__ import annotations

from torch import Tensor

from asiarc.kernels.contract import causal_filter
from asiarc.kernels.short_convolution.chunk import chunk
from asiarc.kernels.short_convolution.reference import recurrence

BACKENDS = {"chunk": chunk, "reference": recurrence}


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

    The last tap weighs the current token. Symbols: B batch, T >= 1 tokens, D channels, W >= 1 taps, N packed
    sequences.

    Args:
        x_BTD: Inputs.
        weight_DW: Taps of each channel.
        bias: [D], or None.
        activation: "silu" or None.
        initial_state: The W-1 inputs before the first token, oldest first, [B, D, W-1] ([N, D, W-1] when
            packed); None is zeros.
        cu_seqlens: Boundaries [N + 1], 0 = c_0 <= ... <= c_N = T, of sequences end to end in a batch of one.
        backend: "chunk" (any device), "reference" (token by token in float64, slow); None picks.

    Returns:
        y_BTD in the dtype of x, and the last W-1 inputs [B, D, W-1] in float32 (float64 for float64 inputs).

    Raises:
        KernelInputError: A shape, dtype, device, boundary, activation or backend outside the above.

    Source: the convolution of Mamba (Gu and Dao 2023, section 3.4) and of DeltaNet (Yang et al. 2024, section 3.4).
    """
    return causal_filter(
        "short_convolution", BACKENDS, x_BTD, weight_DW,
        bias=bias, activation=activation, initial_state=initial_state, cu_seqlens=cu_seqlens, backend=backend,
    )  # fmt: skip
