"""What the operators refuse, in which words, and that the suite's own error metric sees what it must."""

from __future__ import annotations

import pytest
import torch

from asiarc.core.errors import AsiarcError, KernelInputError
from asiarc.kernels.accuracy import error
from asiarc.kernels.fir import fir
from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.kda import kda
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

from .cases import OPERATORS, Case

CASE = Case(OPERATORS[5], seed=0, B=2, T=6, H=2, groups=2, K=4, V=3)


def refused(match, op=gated_delta_rule, case=CASE, **changed):
    tensors = case.tensors(torch.float32)
    arguments = tensors | {name: x(tensors) if callable(x) else x for name, x in changed.items()}
    with pytest.raises(KernelInputError, match=match) as caught:
        op(**arguments)
    assert isinstance(caught.value, AsiarcError) and isinstance(caught.value, ValueError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("match", "changed"),
    [
        (r"g is positive \(maximum 0.5\).*natural logarithm", {"g": lambda x: torch.full_like(x["g"], 0.5)}),
        (r"q is of shape \(2, 6, 2\).*\[B, T, H, K\]", {"q": lambda x: x["q"][..., 0]}),
        (r"q is of shape \(2, 0, 2, 4\)", {"q": lambda x: x["q"][:, :0]}),
        (r"k is of shape \(2, 5, 2, 4\).*\[2, 6, 2, 4\]", {"k": lambda x: x["k"][:, 1:]}),
        (r"v is of shape \(1, 6, 4, 3\)", {"v": lambda x: x["v"][:1]}),
        (r"number of value heads is 3; allowed: a multiple of the 2", {"v": lambda x: x["v"][:, :, 1:]}),
        (r"g is of shape \(2, 6, 4, 1\)", {"g": lambda x: x["g"][..., None]}),
        (r"beta is of shape \(2, 4, 6\)", {"beta": lambda x: x["beta"].mT}),
        (r"beta is a float", {"beta": 1.0}),
        (r"dtype of q, k, v", {"v": lambda x: x["v"].bfloat16()}),
        (r"q is of dtype torch.int64; allowed: float32", {"q": lambda x: x["q"].long()}),
        (r"k is on meta; allowed: the device of the other inputs, cpu", {"k": lambda x: x["k"].to("meta")}),
        (r"initial_state is of shape \(2, 4, 3, 4\)", {"initial_state": lambda x: x["initial_state"].mT}),
        (r"unknown backend 'chunks'. Did you mean 'chunk'\?", {"backend": "chunks"}),
        (r"batch size is 2; allowed: 1 with cu_seqlens", {"cu_seqlens": torch.tensor([0, 6])}),
        (r"cu_seqlens is .*one-dimensional int32 or int64", {"cu_seqlens": torch.tensor([0.0, 6.0])}),
    ],
)
def test_what_is_outside_the_contract_is_refused_by_name(match, changed):
    assert refused(match, **changed).startswith("gated_delta_rule: ")


@pytest.mark.parametrize("bounds", [[0], [1, 6], [0, 5], [0, 7], [0, 4, 2, 6]])
def test_boundaries_must_cover_the_row(bounds):
    case = Case(OPERATORS[5], seed=0, B=1, T=6, state="none")
    refused("non-decreasing from 0 to T = 6", case=case, cu_seqlens=torch.tensor(bounds))


def test_a_channel_gate_where_a_head_gate_is_taken_and_the_reverse():
    refused(r"g is of shape \(2, 6, 4\).*\[B, T, HV, K\]", op=kda)
    case = Case(OPERATORS[6], seed=0, B=2, T=6, H=2, groups=2, K=4, V=3)
    refused(r"g is of shape \(2, 6, 4, 4\).*\[B, T, HV\]", case=case)


def test_delta_product_counts_its_rows():
    case = Case(OPERATORS[7], seed=0, T=6, steps=2, state="none")
    refused(r"rows of k is 11; allowed: a multiple of the 6", op=case.op.call, case=case, k=lambda x: x["k"][:, 1:])


def test_filters_and_norms_refuse_too():
    x, weight = torch.randn(2, 5, 4), torch.randn(4, 3)
    for op in (short_convolution, fir):
        with pytest.raises(KernelInputError, match=r"weight is of shape \(3, 4\)"):
            op(x, weight.T)
        with pytest.raises(KernelInputError, match=r"initial_state is of shape \(2, 4, 3\)"):
            op(x, weight, initial_state=torch.zeros(2, 4, 3))
    with pytest.raises(KernelInputError, match="unknown activation 'relu'"):
        short_convolution(x, weight, activation="relu")
    with pytest.raises(KernelInputError, match=r"gate is of shape \(5, 4\)"):
        gated_rms_norm(x, x[0], torch.ones(4))
    with pytest.raises(KernelInputError, match=r"x is of dtype torch\.int64"):
        l2_norm(x.long())


def test_the_metric_sees_one_wrong_tail_that_a_global_ratio_forgives():
    expected = torch.randn(2, 8192, 4, 8, generator=torch.Generator().manual_seed(0))
    wrong = expected.clone()
    wrong[1, -3:, 2] += 0.1
    assert ((wrong - expected).norm() / expected.norm()) < 2e-3
    assert error(wrong, expected) > 0.03
    wrong[0, 0, 0, 0] = torch.nan
    assert error(wrong, expected) == float("inf")
