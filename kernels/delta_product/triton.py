"""`delta_product` on a GPU: the shared kernels over n T rows, with erasing and a gate a head where there is one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from asiarc.kernels.blocked import blocked
from asiarc.kernels.delta_product.chunk import over_rows


def triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    scale: float,
    state: Tensor | None,
    bounds: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """See `blocked`; `bounds` count tokens, not rows."""
    q_rows, g_rows, steps = over_rows(q, k, g)
    rows = None if bounds is None else [steps * bound for bound in bounds]
    o, final = blocked(q_rows, k, v, g_rows, beta, scale, state, rows)
    return o[:, steps - 1 :: steps], final
