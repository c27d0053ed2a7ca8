"""How wrong a result is: one metric for the tests and for every table that prints a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SEGMENT = 16
"""Tokens over which the local error is taken."""


def error(actual: Tensor, expected: Tensor, *, tokens: bool = True, unit: float = 0.0) -> float:
    """The larger of the global relative L2 error and the largest one of any (batch, head, segment of 16 tokens).

    A global ratio alone forgives a wrong tail of a long sequence. `tokens` says that axis 1 counts tokens and axis 2
    heads; otherwise the axes are batch and head. A segment counts as at least a thousandth of the average one, and an
    element as at least `unit`, lest the rounding of large terms that cancel look like an error. Infinite where the
    actual values are not all finite.
    """
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if not torch.isfinite(actual).all():
        return float("inf")
    a, e = by_segment(actual.detach().double(), tokens), by_segment(expected.detach().double(), tokens)
    off, size = (a - e).norm(dim=-1), e.norm(dim=-1)
    smallest = unit * a.shape[-1] ** 0.5 + 1e-30
    floor = max(1e-3 * float(size.square().mean().sqrt()), smallest)
    local = float((off / size.clamp(min=floor)).max())
    return max(local, float(off.norm()) / max(float(size.norm()), smallest * size.numel() ** 0.5))


def by_segment(x: Tensor, tokens: bool) -> Tensor:
    """[B, T, H, ...] -> [B, segments, H, values], or [B, H, ...] -> [B, H, values]."""
    if not tokens:
        return x.flatten(2)
    x = F.pad(x.flatten(3), (0, 0, 0, 0, 0, -x.shape[1] % SEGMENT))
    return x.unflatten(1, (-1, SEGMENT)).transpose(2, 3).flatten(3)


def errors(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """`error` of each named tensor; a tensor [B, T, H] counts as vectors of one, a name ending in state has no tokens.

    What the tensors have in common is the size of the terms that they are sums of: the unit is 1e-3 of the largest.
    """
    assert actual.keys() == expected.keys()
    unit = 1e-3 * max(float(x.detach().double().square().mean().sqrt()) for x in expected.values())
    return {
        name: error(
            *(x[..., None] if x.dim() == 3 else x for x in (actual[name], expected[name])),
            tokens=not name.endswith("state"),
            unit=unit,
        )
        for name in actual
    }
