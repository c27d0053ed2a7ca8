"""Operators under torch.compile: one graph without a break, the same bits, registered as torch's own check wants."""

from __future__ import annotations

import pytest
import torch

from asiarc.kernels.chunked import traced
from asiarc.kernels.fir import fir
from asiarc.kernels.gated_rms_norm import gated_rms_norm
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

from .cases import OPERATORS, Case, Operator


def outcome(call, inputs):
    """Every output, and the gradient of every input."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    found = call(**leaves)
    outputs = found if isinstance(found, tuple) else (found,)
    loss = sum(o.square().sum() for o in outputs)
    return [*outputs, *torch.autograd.grad(loss, list(leaves.values()))]


def assert_one_graph_with_the_same_bits(call, inputs):
    torch._dynamo.reset()
    compiled = torch.compile(lambda **x: call(**x), fullgraph=True, backend="aot_eager")
    for found, expected in zip(outcome(compiled, inputs), outcome(call, inputs), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("op", OPERATORS, ids=str)
def test_a_recurrence_traces_into_one_graph(op: Operator):
    assert_one_graph_with_the_same_bits(op.call, Case(op, seed=0, B=1, T=19, groups=2, K=4, V=4).tensors(torch.float32))


@pytest.mark.parametrize("op", (OPERATORS[0], OPERATORS[5]), ids=str)
def test_a_single_token_traces_into_one_graph(op: Operator):
    assert_one_graph_with_the_same_bits(op.call, Case(op, seed=0, T=1).tensors(torch.float32))


@pytest.mark.parametrize("op", [short_convolution, fir, l2_norm, gated_rms_norm])
def test_filters_and_norms_trace_into_one_graph(op):
    def made(*shape):
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    x = made(2, 70, 6)
    given = {
        short_convolution: {"x_BTD": x, "weight_DW": made(6, 4), "initial_state": made(2, 6, 3)},
        fir: {"x_BTD": x, "weight_DK": made(6, 9), "initial_state": made(2, 6, 8)},
        l2_norm: {"x": x},
        gated_rms_norm: {"x": x, "gate": x + 1, "weight": made(6)},
    }
    assert_one_graph_with_the_same_bits(op, given[op])


@pytest.mark.parametrize("op", (OPERATORS[0], OPERATORS[6]), ids=str)
def test_the_registration_holds_what_torch_asks_of_it(op: Operator):
    """Schema, fake kernels and autograd registration, by torch's own `opcheck`."""
    x = Case(op, seed=1, B=1, T=7, H=1, K=3, V=5).tensors(torch.float32, requires_grad=True)
    args = (4, 0.5, x["q"], x["k"], x["v"], x.get("g"), x.get("beta"), x["initial_state"], None)
    torch.library.opcheck(traced, args, test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))
