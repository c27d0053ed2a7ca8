"""Our operators against implementations that nobody here wrote, outputs and gradients."""

from __future__ import annotations

import pytest
import torch

from asiarc.kernels.delta_product import delta_product
from asiarc.kernels.dplr import dplr
from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.momentum_delta_rule import momentum_delta_rule
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
    apart = {name for name, operator in ALL.items() if operator.kind == "apart"}
    assert set(peers.FLA) | set(peers.PLAIN) == set(ALL) - apart
    assert set(peers.APART) == set(MIXERS) and apart == {"dplr", "momentum_delta_rule"}


# The recurrences of mixers of the panel in terms of our operators, as the mixers write them.


def gated_delta_net_2(q, k, v, g, erase, write, state):
    return dplr(q, k, write * v, g, erase * k, initial_state=state)


def rwkv7(q, k, v, g, removal, rate, state):
    def both(erasing, writing):
        return torch.stack((erasing, writing), dim=2).flatten(1, 2)

    keys, values = both(rate * removal, k), both(torch.zeros_like(v), v)
    return dplr(q, keys, values, g, both(removal * (-g).exp(), torch.zeros_like(k)), initial_state=state)


def comba(q, k, v, g, beta, feedback, state):
    return gated_delta_rule(q, k, v / feedback[:, None], g, feedback * beta, initial_state=state)


def gated_delta_product(q, k, v, g, beta, state):
    return delta_product(q, k, v, beta, g=g, initial_state=state)


def momentum_delta_net(q, k, v, g, beta, m, eta, state):
    return momentum_delta_rule(q, k, v, g, beta, m, eta, initial_state=state)


MIXERS = {call.__name__: call for call in (gated_delta_net_2, rwkv7, comba, gated_delta_product, momentum_delta_net)}


def of_the_panel(name):
    """Random arguments of a recurrence, over two chunks and a part, with a state to begin with."""
    case = Case(BY_NAME["delta_rule"], seed=3)
    B, T, H, K, V = 2, 70, 2, 5, 7

    def decay(purpose, *shape):
        return torch.nn.functional.logsigmoid(case.normal(purpose, *shape) + 1)

    q, v, state = case.normal("q", B, T, H, K), case.normal("v", B, T, H, V), case.normal("state", B, H, K, V)
    k, g, beta = case.key(B, T, H, K), decay("g", B, T, H), case.uniform("beta", B, T, H)
    channels, erase = decay("channels", B, T, H, K), case.uniform("erase", B, T, H, K)
    eta, both = 2 * case.uniform("eta", B, T, H), case.normal("both", B, H, 2 * K, V)
    return {
        "gated_delta_net_2": lambda: (q, k, v, channels, erase, case.uniform("write", B, T, H, V), state),
        "rwkv7": lambda: (q, case.normal("k", B, T, H, K), v, channels.clamp(min=-0.6), k, erase, state),
        "comba": lambda: (q, k, v, g, beta, case.uniform("feedback", H) + 0.1, state),
        "gated_delta_product": lambda: (
            q, case.key(B, 2 * T, H, K), case.normal("v", B, 2 * T, H, V), g, 2 * case.uniform("b", B, 2 * T, H), state
        ),
        "momentum_delta_net": lambda: (q, k, v, g, beta, decay("m", B, T, H), eta, both),
    }[name]()  # fmt: skip


@pytest.mark.parametrize("name", MIXERS)
def test_flash_linear_attention_computes_a_mixer_of_the_panel_in_float64(name):
    pytest.importorskip("fla")
    given = of_the_panel(name)
    with peers.InFloat64():
        theirs = peers.APART[name](*given)
    for ours, expected in zip(MIXERS[name](*given), theirs, strict=True):
        assert expected.dtype == torch.float64
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)


def test_state_of_the_hugging_face_recurrence():
    recurrent = peers.torch_body("qwen3_next", "torch_recurrent_gated_delta_rule")
    case = Case(BY_NAME["gated_delta_rule"], seed=2, T=33)
    x = case.tensors(torch.float32)
    o, final = recurrent(*(x[n] for n in ("q", "k", "v", "g", "beta")), x["initial_state"], output_final_state=True)
    ours = run(case, x)
    torch.testing.assert_close(ours[0], o, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[1], final, rtol=1e-4, atol=1e-5)
