"""Properties of the two row-wise operators."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from asiarc.kernels.gated_rms_norm import by_parts, gated_rms_norm
from asiarc.kernels.gated_rms_norm import formula as gated_formula
from asiarc.kernels.l2_norm import by_norm, formula, l2_norm

from .cases import examples

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(shape=shapes, scale=st.sampled_from((0.0, 1e-4, 1.0, 1e4)))
@examples
def test_definitions_and_implementations_agree(shape, scale):
    x, gate, weight = normal(*shape) * scale, normal(*shape, seed=1), normal(shape[-1], seed=2)
    for eps in (1e-6, 1e-2):
        torch.testing.assert_close(by_norm(x, eps), formula(x, eps))
        torch.testing.assert_close(l2_norm(x, eps=eps), formula(x, eps))
        torch.testing.assert_close(by_parts(x, gate, weight, eps), gated_formula(x, gate, weight, eps))
        torch.testing.assert_close(gated_rms_norm(x, gate, weight, eps=eps), gated_formula(x, gate, weight, eps))


def test_gradients_to_second_order():
    x, gate, weight = (normal(*s, seed=i).requires_grad_() for i, s in enumerate(((2, 3, 4), (2, 3, 4), (4,))))
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(l2_norm, (x,))
        assert check(gated_rms_norm, (x, gate, weight))


def test_zero_rows_strides_dtypes():
    assert torch.equal(l2_norm(torch.zeros(2, 3)), torch.zeros(2, 3))
    x = normal(4, 6)
    assert torch.equal(l2_norm(x.T), l2_norm(x.T.contiguous()))
    half = x.bfloat16()
    assert torch.equal(l2_norm(half), l2_norm(half.float()).bfloat16())
    large = torch.full((1, 4), 3e4, dtype=torch.float16)  # the sum of squares is above float16's largest number
    torch.testing.assert_close(l2_norm(large), torch.full((1, 4), 0.5, dtype=torch.float16))
    assert gated_rms_norm(half, half, x[0]).dtype == torch.bfloat16


def test_transformers_l2norm_agrees():
    from transformers.models.qwen3_next.modeling_qwen3_next import l2norm

    x = normal(3, 7)
    torch.testing.assert_close(l2_norm(x), getattr(l2norm, "__wrapped__", l2norm)(x, dim=-1, eps=1e-6))
