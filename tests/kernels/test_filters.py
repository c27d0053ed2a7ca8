"""Properties of the causal depthwise filters: one definition for few taps and for many."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.seeds import seed_of
from asiarc.kernels.fir import fir
from asiarc.kernels.short_convolution import materialised, recurrence, short_convolution

from .cases import examples

both = pytest.mark.parametrize("op", [short_convolution, fir])


def inputs(seed, B, T, D, W, dtype=torch.float64, requires_grad=False):
    generator = torch.Generator().manual_seed(seed_of("filter case", seed))
    shapes = (B, T, D), (D, W), (B, D, W - 1)
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_(requires_grad) for s in shapes]


shapes = st.tuples(
    st.integers(0, 99), st.integers(1, 3), st.sampled_from((1, 2, 3, 5, 63, 64, 65, 130)), st.integers(1, 5),
    st.sampled_from((1, 2, 4, 7, 64, 100)),
)  # fmt: skip


def same(actual, expected, bound=1e-12):
    return all(
        a.shape == e.shape and (a - e).abs().sum() <= bound * (1 + e.abs().sum())
        for a, e in zip(actual, expected, strict=True)
    )


@both
@given(shape=shapes)
@examples
def test_two_definitions_and_the_implementation_agree_with_gradients(op, shape):
    x, weight, state = inputs(*shape, requires_grad=True)
    expected = recurrence(x, weight, state)
    actual = op(x, weight, initial_state=state)
    assert same(materialised(x, weight, state), expected)
    assert same(actual, expected)
    grads = [torch.autograd.grad(y.sin().sum() + s.square().sum(), (x, weight, state)) for y, s in (actual, expected)]
    assert same(*grads, 1e-10)


@both
@given(shape=shapes, data=st.data())
@examples
def test_state_hand_over_and_packing(op, shape, data):
    x, weight, state = inputs(*shape)
    T = x.shape[1]
    cut = data.draw(st.integers(1, T))
    whole, final = op(x, weight, initial_state=state)
    first, middle = op(x[:, :cut], weight, initial_state=state)
    if cut == T:
        assert same((first, middle), (whole, final))
        return
    second, last = op(x[:, cut:], weight, initial_state=middle)
    assert same((torch.cat((first, second), 1), last), (whole, final))
    bounds = torch.tensor([0, cut, cut, T])
    states = state[:1].repeat(3, 1, 1)
    packed, finals = op(x[:1], weight, initial_state=states, cu_seqlens=bounds)
    left, right = (op(part, weight, initial_state=state[:1]) for part in (x[:1, :cut], x[:1, cut:]))
    assert same((packed, finals), (torch.cat((left[0], right[0]), 1), torch.cat((left[1], state[:1], right[1]))))


@both
@pytest.mark.parametrize("lengths", [(6, 8), (1, 2, 2, 3), (5, 0, 7, 33)])
def test_the_last_inputs_of_packed_sequences_of_like_lengths_are_each_ones_own(op, lengths):
    """Sequences of like lengths are padded to one batch; the padding is nobody's last input."""
    x, weight, _ = inputs(3, 1, sum(lengths), 3, 5)
    states = inputs(4, len(lengths), 1, 3, 5)[2]
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    finals = op(x, weight, initial_state=states, cu_seqlens=bounds)[1]
    for i, (a, b) in enumerate(itertools.pairwise(bounds)):
        alone = op(x[:, a:b], weight, initial_state=states[i : i + 1])[1] if b > a else states[i : i + 1]
        assert same((finals[i : i + 1],), (alone,))


@both
def test_a_prefix_keeps_its_bits_and_the_past_has_no_gradient_to_the_future(op):
    x, weight, state = inputs(1, 2, 90, 6, 33, torch.float32)
    other = x.clone()
    other[:, 40:] = 7
    assert torch.equal(op(x, weight)[0][:, :40], op(other, weight)[0][:, :40])
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(op(x, weight, initial_state=state)[0][:, :40].square().sum(), x)
    assert gradient[:, 40:].abs().max() == 0


@both
def test_gradcheck_also_where_the_sequence_is_shorter_than_the_filter(op):
    for T in (1, 2, 3, 5):
        tensors = inputs(2, 2, T, 2, 4, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, w, s: op(x, w, initial_state=s), tensors)
        _, final = op(tensors[0], tensors[1], initial_state=tensors[2])
        (gradient,) = torch.autograd.grad(final.sum(), tensors[2], allow_unused=True, materialize_grads=True)
        assert gradient.sum() == 2 * 2 * max(3 - T, 0)


def test_bias_and_activation_against_torch():
    x, weight, _ = inputs(3, 2, 9, 4, 3)
    bias = torch.arange(4.0, dtype=torch.float64)
    padded = torch.nn.functional.pad(x.mT, (2, 0))
    expected = torch.nn.functional.conv1d(padded, weight[:, None], bias, groups=4).mT
    for activation, act in ((None, lambda y: y), ("silu", torch.nn.functional.silu)):
        y, _ = short_convolution(x, weight, bias=bias, activation=activation)
        torch.testing.assert_close(y, act(expected))


def test_the_convolution_of_transformers_agrees():
    from transformers.models.qwen3_next.modeling_qwen3_next import causal_conv1d_fn

    x, weight, _ = inputs(4, 2, 20, 6, 4, torch.float32)
    theirs = getattr(causal_conv1d_fn, "__wrapped__", causal_conv1d_fn)(x.mT, weight, bias=None, activation="silu")
    torch.testing.assert_close(short_convolution(x, weight, activation="silu")[0], theirs.mT)


@both
def test_inputs_stay_and_half_precision_rounds_once(op):
    x, weight, _ = inputs(5, 2, 30, 4, 5, torch.float32)
    kept = x.clone()
    exact = op(x.bfloat16().float(), weight)[0]
    rounded, final = op(x.bfloat16(), weight)
    assert rounded.dtype == torch.bfloat16 and final.dtype == torch.float32
    torch.testing.assert_close(rounded, exact.bfloat16())
    assert torch.equal(x, kept)
