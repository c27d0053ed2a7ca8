"""What candidates use of einops, in torch alone: written into an exported file, which then needs no einops.

The same steps as einops' own (reshape, permute, reduce, expand, reshape), so that the same numbers lie in the same
memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Groups = list[list[str]]


def axis_groups(side: str, hidden: int) -> Groups:
    """The axes of one side of a pattern, those in parentheses together; `...` stands for `hidden` axes."""
    groups: Groups = []
    for inner, word in re.findall(r"\(([^()]*)\)|([^\s()]+)", side):
        words = [word] if word else inner.split()
        names = [f"...{n}" for n in range(hidden)]
        if word == "...":
            groups += [[name] for name in names]
        else:
            groups.append([axis for w in words for axis in (names if w == "..." else [w]) if axis != "1"])
    return groups


def hidden_axes(left: str, x: Tensor) -> int:
    """How many axes of a tensor the `...` of a pattern stands for."""
    return x.dim() - len(axis_groups(left, 0))


def sizes_of(groups: Groups, shape: Sequence[int], given: dict[str, int]) -> dict[str, int]:
    """The length of every axis on the left: what is not given follows from the shape, one in each group."""
    if len(groups) != len(shape):
        raise ValueError(f"a tensor of {len(shape)} axes for a pattern of {len(groups)}")
    sizes = dict(given)
    for group, length in zip(groups, shape, strict=True):
        known = math.prod(sizes[axis] for axis in group if axis in sizes)
        for axis in [axis for axis in group if axis not in sizes]:
            sizes[axis] = length // known
            known = length
        if known != length:
            raise ValueError(f"an axis of {length} is not {' x '.join(group) or '1'} with {given}")
    return sizes


def applied(x: Any, pattern: str, given: dict[str, int], shrink: Callable[[Tensor, list[int]], Tensor]) -> Tensor:
    """The pattern applied: axes only on the left go to `shrink`, axes only on the right repeat."""
    x = x if isinstance(x, Tensor) else torch.stack(list(x))
    left, right = pattern.split("->")
    hidden = hidden_axes(left, x) if "..." in left else 0
    before, after = axis_groups(left, hidden), axis_groups(right, hidden)
    sizes = sizes_of(before, x.shape, given)
    axes, wanted = ([axis for group in groups for axis in group] for groups in (before, after))
    kept, gone = [axis for axis in wanted if axis in axes], [axis for axis in axes if axis not in wanted]
    if any(len(group) != 1 for group in before):
        x = x.reshape([sizes[axis] for axis in axes])
    order = [axes.index(axis) for axis in (*kept, *gone)]
    if order != sorted(order):
        x = x.permute(order)
    if gone:
        x = shrink(x, list(range(len(kept), len(order))))
    for place, axis in enumerate(wanted):
        if axis not in axes:
            x = x.unsqueeze(place)
    x = x.expand([sizes[axis] for axis in wanted]) if len(wanted) > len(kept) else x
    return x.reshape([math.prod(sizes[a] for a in g) for g in after]) if any(len(g) != 1 for g in after) else x


def not_shrunk(x: Tensor, axes: list[int]) -> Tensor:
    """No axis may be missing on the right."""
    raise ValueError("a pattern names axes on the left that the right has not")


def rearrange(x: Any, pattern: str, **sizes: int) -> Tensor:
    """Permute, split and join axes: ``rearrange(x, "b t (h k) -> b h t k", h=4)``."""
    return applied(x, pattern, sizes, not_shrunk)


def repeat(x: Any, pattern: str, **sizes: int) -> Tensor:
    """As `rearrange`; an axis that only the right names repeats: ``repeat(x, "h -> b h", b=2)``."""
    return applied(x, pattern, sizes, not_shrunk)


def reduce(x: Any, pattern: str, reduction: str, **sizes: int) -> Tensor:
    """As `rearrange`; an axis that only the left names is reduced by "sum", "mean", "max", "min" or "prod"."""

    def shrink(x: Tensor, axes: list[int]) -> Tensor:
        if reduction == "prod":
            return x.flatten(axes[0]).prod(-1)
        ways: dict[str, Any] = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}
        shrunk: Tensor = ways[reduction](x, axes)
        return shrunk

    return applied(x, pattern, sizes, shrink)


def einsum(*given: Any) -> Tensor:
    """``einsum(a, b, "b t d, d h -> b t h")``: torch's, with axes that have names."""
    *tensors, pattern = given
    names = dict.fromkeys(re.findall(r"[A-Za-z_]\w*", pattern))
    letters = dict(zip(names, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
    short = re.sub(r"[A-Za-z_]\w*", lambda found: letters[found[0]], pattern).replace(" ", "")
    return torch.einsum(short, *tensors)
