"""Our operators against implementations that nobody here wrote, outputs and gradients."""

from __future__ import annotations

import pytest
import torch

from asiarc.kernels.operators import OPERATORS as ALL
from asiarc.speed import cases as speed
from tests.rigs.kernels import peers

from .cases import OPERATORS, Case, assert_close, run

BY_NAME = {op.name: op for op in OPERATORS}
PEERS = [("transformers", name, call) for name, call in peers.TRANSFORMERS.items() if name in BY_NAME] + [
    ("fla", name, call) for name, call in peers.FLA.items()
]
POINTWISE = [
    (source, name, call)
    for source, table in (("transformers", peers.TRANSFORMERS), ("torch", peers.PLAIN))
    for name, call in table.items()
    if name not in BY_NAME
]


def with_gradients(case, outputs, tensors):
    upstream = case.normal("upstream", *outputs.shape).float()
    return {"o": outputs} | dict(
        zip(tensors, torch.autograd.grad(outputs, list(tensors.values()), upstream), strict=True)
    )


@pytest.mark.parametrize(("source", "name", "call"), PEERS, ids=lambda x: x if isinstance(x, str) else "")
def test_others_compute_the_same(source, name, call):
    if source == "fla" and not peers.has_fla():
        pytest.skip("flash-linear-attention is not installed")
    op = BY_NAME[name]
    case = Case(op, seed=1, B=2, T=128, H=3, K=16, V=16, state="none", steps=op.steps)
    tensors = case.tensors(torch.float32, requires_grad=True)
    for name in op.optional:
        del tensors[name]
    ours = with_gradients(case, run(case, tensors)[0], tensors)
    theirs = with_gradients(case, call(*tensors.values()), tensors)
    assert_close(ours, theirs, 2e-4)


@pytest.mark.parametrize(("source", "name", "call"), POINTWISE, ids=lambda x: x if isinstance(x, str) else "")
def test_others_filter_and_normalise_the_same(source, name, call):
    case = speed.shipped(name, 2, 70, 3, 16)
    tensors = {n: x for n, x in case.inputs().items() if n != "initial_state"}
    function, upstream = case.call, case.upstream()[:1]
    ours = speed.outcome(lambda **x: speed.outputs_of(function(**x))["o"], tensors, upstream)
    theirs = speed.outcome(lambda **x: call(*x.values()), tensors, upstream)
    assert max(speed.error_of(ours, theirs).values()) < 1e-5


def test_every_operator_has_an_oracle():
    assert set(peers.FLA) == set(BY_NAME)
    assert set(peers.FLA) | set(peers.PLAIN) == set(ALL)


def test_state_of_the_hugging_face_recurrence():
    recurrent = peers.torch_body("qwen3_next", "torch_recurrent_gated_delta_rule")
    case = Case(BY_NAME["gated_delta_rule"], seed=2, T=33)
    x = case.tensors(torch.float32)
    o, final = recurrent(*(x[n] for n in ("q", "k", "v", "g", "beta")), x["initial_state"], output_final_state=True)
    ours = run(case, x)
    torch.testing.assert_close(ours[0], o, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[1], final, rtol=1e-4, atol=1e-5)
