"""`delta_product` in chunks: the (gated) delta rule over n T rows; tokens decay at the first, are read at the last."""

from __future__ import annotations

import torch
from torch import Tensor

from asiarc.kernels.chunked import chunked


def chunk(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows that nothing reads get q = 0, rows that do not decay g = 0."""
    steps = k.shape[1] // q.shape[1]

    def at_row(x: Tensor, row: int) -> Tensor:
        spread = x.new_zeros(x.shape[0], x.shape[1], steps, *x.shape[2:])
        return spread.index_copy(2, torch.tensor([row], device=x.device), x[:, :, None]).flatten(1, 2)

    gates = None if g is None else at_row(g, 0)
    o, final = chunked(at_row(q, steps - 1), k, v, gates, beta, scale, state)
    return o[:, steps - 1 :: steps], final
