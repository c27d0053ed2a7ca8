"""`delta_product` in chunks: the (gated) delta rule over n T rows; tokens decay at the first, are read at the last."""

from __future__ import annotations

import torch
from torch import Tensor

from asiarc.kernels.chunked import chunked


def chunk(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """See `delta_product`."""
    q_rows, g_rows, steps = over_rows(q, k, g)
    o, final = chunked(q_rows, k, v, g_rows, beta, scale, state)
    return o[:, steps - 1 :: steps], final


def over_rows(q: Tensor, k: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor | None, int]:
    """q and g over the rows of k, and the rows a token: where nothing is read q = 0, where nothing decays g = 0."""
    steps = k.shape[1] // q.shape[1]

    def at_row(x: Tensor, row: int) -> Tensor:
        spread = x.new_zeros(x.shape[0], x.shape[1], steps, *x.shape[2:])
        return spread.index_copy(2, torch.tensor([row], device=x.device), x[:, :, None]).flatten(1, 2)

    return at_row(q, steps - 1), None if g is None else at_row(g, 0), steps
