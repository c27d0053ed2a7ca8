"""What the panel's mixers compute beside our operators, against code that nobody here wrote, in float64.

That is flash-linear-attention's naive functions, and transformers' mLSTM, which the former lacks. They convert to
float32 inside; `wide` has them keep float64. Outputs and the gradients of a random functional are compared.
"""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch.nn.functional import logsigmoid, normalize

from asiarc.core.candidate import load_mixer
from asiarc.models.baselines import baseline_source
from tests.rigs.kernels import peers

B, T, H, K = 2, 64, 2, 16
BOUND = 1e-10


@pytest.fixture(autouse=True)
def wide():
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        torch.set_default_dtype(torch.float64)
        yield
    torch.set_default_dtype(torch.float32)


def ours(mixer, function):
    return load_mixer(baseline_source(mixer)).forward.__globals__[function]


def naive(module, function):
    if not peers.has_fla():
        pytest.skip("flash-linear-attention is not installed")
    return peers.naive(module, function)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def drawn(tokens=T):
    """q, k, v of unit length, log-decays and strengths."""
    q, k, v = (normalize(normal(B, tokens, H, K, seed=seed), dim=-1) for seed in range(3))
    return q, k, v, logsigmoid(normal(B, tokens, H, seed=3) + 1), torch.sigmoid(normal(B, tokens, H, seed=4))


def heads_first(*tensors):
    return [x.transpose(1, 2) for x in tensors]


def largest_error(one, other, *inputs):
    """Of outputs and gradients, relative to the largest of each."""
    inputs = [x.clone().requires_grad_(True) for x in inputs]
    found = []
    for function in (one, other):
        o = function(*inputs)
        found.append([o, *torch.autograd.grad((o * normal(*o.shape, seed=9)).sum(), inputs)])
    return max(float(((a - b).abs().max() / b.abs().max()).detach()) for a, b in zip(*found, strict=True))


def test_hgrn2():
    recurrent, gla = naive("gla", "naive_recurrent_gla"), ours("hgrn2", "gla")

    def tied(memory, q, f, v):
        return memory(q, torch.sigmoid(-f), v, logsigmoid(f))[0]

    q, _, v, *_ = drawn()
    assert largest_error(lambda *x: tied(gla, *x), lambda *x: tied(recurrent, *x), q, normal(B, T, H, K), v) < BOUND


@pytest.mark.parametrize("steps", [1, 8, 30])
def test_mesa_net(steps):
    mesa, solved = ours("mesa_net", "mesa"), naive("mesa_net", "naive_mesa_net_CG")
    ridge = 0.25 + torch.rand(H, K, generator=torch.Generator().manual_seed(5))

    def one(q, k, v, g, beta, ridge):
        return mesa(q, k, v, g, beta, ridge, {}, steps)[0]

    def other(q, k, v, g, beta, ridge):
        return solved(q, k, v, g, ridge, beta, 16, steps)[0]

    assert largest_error(one, other, *drawn(), ridge) < BOUND


def test_eight_steps_of_mesa_net_come_within_a_hundredth_of_the_solution():
    """At the smallest ridge, and where almost nothing fades."""
    q, k, v, _, beta = drawn(tokens=128)
    slow, ridge = torch.full((B, 128, H), -1e-3), torch.full((H, K), 0.25)
    o, _ = ours("mesa_net", "mesa")(q, k, v, slow, beta, ridge, {})
    written, decay = beta[..., None] * k, torch.exp(slow)[..., None, None]
    keys = values = torch.zeros(B, H, K, K)
    for t in range(128):
        keys = decay[:, t] * keys + torch.einsum("bhk,bhl->bhkl", written[:, t], k[:, t])
        values = decay[:, t] * values + torch.einsum("bhk,bhl->bhkl", written[:, t], v[:, t])
    solved = torch.linalg.solve(keys + torch.diag_embed(ridge), q[:, -1])
    expected = torch.einsum("bhk,bhkv->bhv", solved, values)
    assert float((o[:, -1] - expected).norm() / expected.norm()) < 0.01


def test_mlstm():
    cell = ours("mlstm", "mlstm")
    step = peers.torch_body("xlstm", "mlstm_recurrent_sequence_native")
    q, k, v, *_ = drawn()
    loud, forget = 8 * normal(B, T, H, seed=6), logsigmoid(normal(B, T, H, seed=7) + 3)

    def one(q, k, v, written, kept):
        return cell(q, k, v, written, kept, {})[0]

    def other(q, k, v, written, kept):
        raw = kept - torch.log(-torch.expm1(kept))  # the inverse of logsigmoid
        o = step(*heads_first(q, k, v, written, raw), eps=0.0, dtype_state=torch.float64)
        return o.transpose(1, 2)

    assert largest_error(one, other, q, k, v, loud, forget) < BOUND


@pytest.mark.parametrize("tokens", [5, 150])
def test_sliding_window_attention(tokens):
    attention, windowed = ours("sliding_window_attention", "window_attention"), naive("attn", "naive_parallel_attn")

    def one(q, k, v):
        q, *past = heads_first(q, k, v)
        before = q.new_zeros(B, H, 63, K)
        k, v = (torch.cat((before, x), dim=2) for x in past)
        return attention(q, k, v, torch.zeros(B, dtype=torch.long)).transpose(1, 2)

    assert largest_error(one, lambda *x: windowed(*x, window_size=64)[0], *drawn(tokens)[:3]) < BOUND


def test_forgetting_attention():
    attention = ours("forgetting_attention", "forgetting_attention")

    def one(q, k, v, g):
        return attention(*heads_first(q, k, v, g.cumsum(1))).transpose(1, 2)

    assert largest_error(one, naive("forgetting_attn", "naive_forgetting_attn"), *drawn()[:4]) < BOUND


@pytest.mark.parametrize("levels", [5, 12])
def test_log_linear_gated_delta_net(levels):
    """Where keys are orthogonal and nothing is half written, the delta rule adds, as the naive function does."""
    log_linear = ours("log_linear_gated_delta_net", "log_linear")
    fenwick = naive("log_linear_attn", "naive_log_linear_attn")
    length = 100
    q, v, g = normal(B, length, H, length), normal(B, length, H, K), -normal(B, length, H, seed=3).exp() / 20
    k, position = torch.eye(length)[None, :, None].expand_as(q), torch.arange(length).expand(B, length)
    weight = torch.rand(B, length, H, levels, generator=torch.Generator().manual_seed(8))
    everything_older = torch.arange(12).clamp(max=levels - 1)

    def one(q, v, g, weight):
        return log_linear(q, k, v, g, torch.ones_like(g), weight, position, None)[0]

    def other(q, v, g, weight):
        return fenwick(q, k, v, g, weight[..., everything_older])

    assert largest_error(one, other, q, v, g, weight) < BOUND
