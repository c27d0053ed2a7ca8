"""What stands in for einops, against einops: the same numbers in the same memory."""

from __future__ import annotations

import einops
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.export import rearranging

AXES = "bthkd"


@st.composite
def patterns(draw, missing=False, added=False):
    """(a tensor's shape, a pattern, lengths that cannot be told from the shape)"""
    sizes = {axis: draw(st.integers(1, 3)) for axis in draw(st.permutations(AXES))[: draw(st.integers(1, 5))]}
    left = grouped(draw, list(sizes))
    kept = draw(st.permutations(list(sizes)))
    if missing:
        kept = kept[: draw(st.integers(0, len(kept)))]
    given_sizes = {axis: sizes[axis] for group in left for axis in group[1:]}
    if added:
        given_sizes["r"] = draw(st.integers(1, 3))
        kept.insert(draw(st.integers(0, len(kept))), "r")
    right = grouped(draw, kept)
    shape = [torch.Size([sizes[axis] for axis in group]).numel() for group in left]
    return shape, f"{written(left)} -> {written(right)}", given_sizes


def grouped(draw, axes):
    groups = []
    for axis in axes:
        if groups and draw(st.booleans()):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def written(groups):
    return " ".join(group[0] if len(group) == 1 else f"({' '.join(group)})" for group in groups)


def numbers(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@settings(max_examples=60)
@given(patterns())
def test_rearrange(drawn):
    shape, pattern, sizes = drawn
    mine, theirs = (one.rearrange(numbers(shape), pattern, **sizes) for one in (rearranging, einops))
    assert torch.equal(mine, theirs) and mine.stride() == theirs.stride()


@settings(max_examples=60)
@given(patterns(added=True))
def test_repeat(drawn):
    shape, pattern, sizes = drawn
    assert torch.equal(*(one.repeat(numbers(shape), pattern, **sizes) for one in (rearranging, einops)))


@settings(max_examples=60)
@given(patterns(missing=True), st.sampled_from(["sum", "mean", "max", "min", "prod"]))
def test_reduce(drawn, how):
    shape, pattern, sizes = drawn
    mine, theirs = (one.reduce(numbers(shape), pattern, how, **sizes) for one in (rearranging, einops))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("pattern", "shape", "sizes"),
    [
        ("... (h k) -> ... h k", (2, 3, 4), {"h": 2}),
        ("b ... d -> b (...) d", (2, 3, 4, 5), {}),
        ("b 1 d -> d b", (2, 1, 3), {}),
        ("b t -> b t 1", (2, 3), {}),
        ("b t -> (b t)", (2, 3), {}),
        ("b t d -> b () t d", (2, 3, 4), {}),
        ("batch_1 t -> t batch_1", (2, 3), {}),
    ],
)
def test_what_else_a_pattern_may_hold(pattern, shape, sizes):
    assert torch.equal(*(one.rearrange(numbers(shape), pattern, **sizes) for one in (rearranging, einops)))


def test_einsum_and_lists():
    a, b = numbers((2, 3, 4)), numbers((4, 5))
    assert torch.equal(*(one.einsum(a, b, "b time d, d head -> b time head") for one in (rearranging, einops)))
    assert torch.equal(*(one.rearrange([a, a], "n b t d -> b n t d") for one in (rearranging, einops)))


@pytest.mark.parametrize(
    ("pattern", "sizes"),
    [("b (h k) -> b h k", {"h": 2}), ("b t d -> b t d", {}), ("b t -> b", {}), ("b t -> b t r", {})],
)
def test_what_does_not_fit_is_refused(pattern, sizes):
    for one in (rearranging, einops):
        with pytest.raises(Exception):  # noqa: B017 - each has errors of its own
            one.rearrange(numbers((2, 3)), pattern, **sizes)
