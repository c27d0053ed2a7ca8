"""The axes of a tensor in words, ``"B T H*D"``: a name, a number or a product of two, and a number more or less."""

from __future__ import annotations

import re
from collections.abc import Mapping

AXIS = re.compile(r"^(\d+|[A-Za-z]\w*)(\*(\d+|[A-Za-z]\w*))?([+-]\d+)?$")
NAME = re.compile(r"[A-Za-z]\w*")
Sizes = Mapping[str, int]


def length(axis: str, sizes: Sizes) -> int:
    """The length of an axis such as ``T``, ``H*D``, ``2*T`` or ``W-1``."""
    found = AXIS.match(axis)
    assert found, axis
    factors = [int(f) if f.isdigit() else sizes[f] for f in (found[1], found[3] or "1")]
    return factors[0] * factors[1] + int(found[4] or 0)


def shape(axes: str, sizes: Sizes) -> tuple[int, ...]:
    """The shape of a tensor with such axes: ``"B T H*D"``."""
    return tuple(length(axis, sizes) for axis in axes.split())


def axis_of(name: str, axes: str) -> int | None:
    """Where the axis stands that counts `name` (``T``, or ``2*T``)."""
    return next((i for i, axis in enumerate(axes.split()) if name in NAME.findall(axis)), None)
