"""The operators that mixers of the panel have to themselves: what every operator with a state holds, and planted bugs.

`test_oracles` holds them against implementations that nobody here wrote.
"""

from __future__ import annotations
import __future__

import inspect
import itertools
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.errors import KernelInputError
from asiarc.kernels import chunked
from asiarc.kernels.dplr import dplr
from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.kda import kda
from asiarc.kernels.momentum_delta_rule import momentum_delta_rule

from .cases import assert_close, examples

B, H, K, V = 2, 2, 5, 7
CALLS = {"dplr": dplr, "momentum_delta_rule": momentum_delta_rule}
by_rows, by_momentum = (sys.modules[call.__module__] for call in CALLS.values())
every_operator = pytest.mark.parametrize("name", CALLS)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape) + 97 * seed))


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(normal(*shape, seed=seed), dim=-1)


def log_decay(*shape, seed=0):
    return torch.nn.functional.logsigmoid(normal(*shape, seed=seed) + 1)


def share(*shape, seed=0):
    return normal(*shape, seed=seed).sigmoid()


def arguments(name, T, seed=0, rows=1):
    """Tensors as a trained layer gives them, in the order of the operator, the state last."""
    q, k = normal(B, T, H, K, seed=seed), unit(B, rows * T, H, K, seed=seed + 1)
    x = {"q": q, "k": k, "v": normal(B, rows * T, H, V, seed=seed)}
    if name == "dplr":
        x |= {"g": log_decay(B, T, H, K, seed=seed), "p": share(B, rows * T, H, K, seed=seed) * k}
    else:
        gates = dict(zip(("g", "beta", "m", "eta"), (log_decay, share, log_decay, share), strict=True))
        x |= {gate: draw(B, T, H, seed=seed + i) for i, (gate, draw) in enumerate(gates.items())}
    return x | {"initial_state": normal(B, H, K * (1 if name == "dplr" else 2), V, seed=seed)}


def rows_of(x, name, start, stop):
    """The arguments of tokens start to stop, without a state."""
    steps = x["k"].shape[1] // x["q"].shape[1]
    several = {"k", "v", "p"}
    cut = {n: slice(start * (steps if n in several else 1), stop * (steps if n in several else 1)) for n in x}
    return {n: t[:, cut[n]] for n, t in x.items() if n != "initial_state"}


def outcome(call, x, **options):
    """Outputs and the gradient of a random functional of both in every argument."""
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in x.items()}
    o, final = call(**leaves, **options)
    loss = (o * normal(*o.shape, seed=7).to(o)).sum() + (final * normal(*final.shape, seed=8).to(final)).sum()
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return {"o": o, "final_state": final} | {f"d{n}": d for n, d in zip(leaves, found, strict=True)}


# --- what every operator with a state holds ---------------------------------------------------------------------------


@every_operator
@given(T=st.sampled_from((1, 2, 31, 32, 33, 65)), seed=st.integers(0, 99), rows=st.integers(1, 3))
@examples
def test_chunks_equal_the_definition_with_all_gradients(name, T, seed, rows):
    x = arguments(name, T, seed, rows if name == "dplr" else 1)
    assert_close(outcome(CALLS[name], x), outcome(CALLS[name], x, backend="reference"), 1e-9)


@every_operator
@pytest.mark.parametrize("cut", [1, 32, 40])
def test_a_state_handed_over_continues_the_sequence(name, cut):
    x = arguments(name, 69, rows=2 if name == "dplr" else 1)
    o, final = CALLS[name](**x)
    first, state = CALLS[name](**rows_of(x, name, 0, cut), initial_state=x["initial_state"])
    second, last = CALLS[name](**rows_of(x, name, cut, 69), initial_state=state)
    assert_close({"o": torch.cat((first, second), dim=1), "final_state": last}, {"o": o, "final_state": final}, 1e-11)


@every_operator
def test_a_prefix_keeps_its_values_whatever_follows(name):
    x = arguments(name, 70)
    changed = {n: t if n == "initial_state" else torch.cat((t[:, :45], 3 * t[:, 45:]), dim=1) for n, t in x.items()}
    assert torch.equal(CALLS[name](**changed)[0][:, :45], CALLS[name](**x)[0][:, :45])


@every_operator
def test_packed_sequences_equal_one_call_each(name):
    x = {n: t[:1] for n, t in arguments(name, 50).items() if n != "initial_state"}
    bounds = [0, 3, 3, 40, 50]
    o, final = CALLS[name](**x, cu_seqlens=torch.tensor(bounds))
    for n, (a, b) in enumerate(itertools.pairwise(bounds)):
        if a == b:
            assert not final[n].any()
            continue
        alone, last = CALLS[name](**rows_of(x, name, a, b))
        assert_close({"o": o[:, a:b], "final_state": final[n : n + 1]}, {"o": alone, "final_state": last}, 1e-12)


@every_operator
@pytest.mark.parametrize("gate", [0.0, -60.0, -torch.inf])
def test_any_gate_is_finite_and_exact_forward_and_backward(name, gate):
    x = arguments(name, 40)
    x["g"] = torch.where(normal(*x["g"].shape) > 0, gate, x["g"])
    assert_close(outcome(CALLS[name], x), outcome(CALLS[name], x, backend="reference"), 1e-9)
    narrow = {n: t.float() for n, t in x.items()}
    assert_close(outcome(CALLS[name], narrow), outcome(CALLS[name], x, backend="reference"), 1e-4)


@every_operator
def test_half_precision_is_rounded_once(name):
    x = {n: t.bfloat16() if n in "qkv" else t.float() for n, t in arguments(name, 40).items()}
    o, final = CALLS[name](**x)
    assert o.dtype == torch.bfloat16 and final.dtype == torch.float32
    expected = CALLS[name](**{n: t.double() for n, t in x.items()})[0]
    assert_close({"o": o}, {"o": expected}, 0.6 * torch.finfo(torch.bfloat16).eps)


@every_operator
def test_it_traces_into_one_graph(name):
    x = {n: t.float() for n, t in arguments(name, 33).items()}
    torch._dynamo.reset()
    compiled = torch.compile(lambda **x: CALLS[name](**x), fullgraph=True, backend="aot_eager")
    assert_close(outcome(compiled, x), outcome(CALLS[name], x), 1e-6)


def test_special_cases_are_the_operators_that_they_generalise():
    """An erased key that is the written one is KDA; a momentum that keeps nothing is the gated delta rule."""
    x = arguments("dplr", 40)
    of_kda = kda(x["q"], x["k"], x["v"], x["g"], share(B, 40, H), initial_state=x["initial_state"])
    weighed = share(B, 40, H)[..., None] * x["k"]
    found = dplr(x["q"], weighed, x["v"], x["g"], x["k"], initial_state=x["initial_state"])
    assert_close(dict(zip("of", found, strict=True)), dict(zip("of", of_kda, strict=True)), 1e-12)
    x = arguments("momentum_delta_rule", 40)
    x["m"], x["eta"] = torch.full_like(x["m"], -torch.inf), torch.ones_like(x["eta"])
    o, final = momentum_delta_rule(**x)
    start = x["initial_state"][:, :, :K]
    plain = gated_delta_rule(x["q"], x["k"], x["v"], x["g"], x["beta"], initial_state=start)
    assert_close({"o": o, "final_state": final[:, :, :K]}, {"o": plain[0], "final_state": plain[1]}, 1e-12)


@pytest.mark.parametrize(
    ("name", "match", "changed"),
    [
        ("dplr", r"dplr: p is of shape \(2, 5, 2, 5\).*\[B, R, HV, K\]", {"p": lambda x: x["p"][:, 1:]}),
        ("dplr", "g is positive", {"g": lambda x: -x["g"]}),
        ("dplr", "unknown backend 'triton'", {"backend": lambda x: "triton"}),
        ("momentum_delta_rule", "m is positive.*so m <= 0", {"m": lambda x: -x["m"]}),
        ("momentum_delta_rule", r"eta is of shape \(2, 6\)", {"eta": lambda x: x["eta"][..., 0]}),
        ("momentum_delta_rule", r"initial_state is of shape \(2, 2, 5, 7\)",
         {"initial_state": lambda x: x["initial_state"][:, :, :5]}),
    ],
)  # fmt: skip
def test_what_is_outside_the_contract_is_refused_by_name(name, match, changed):
    x = arguments(name, 6)
    with pytest.raises(KernelInputError, match=match):
        CALLS[name](**x | {argument: make(x) for argument, make in changed.items()})


# --- bugs -------------------------------------------------------------------------------------------------------------

MUTANTS = [
    (chunked.forward, "p = k if p_ is None else to_chunks(p_, C)", "p = k"),
    (chunked.forward, "else [beta, T_inv, w, p]", "else [beta, T_inv, w, k]"),
    (chunked.backward, "dinto.addcmul_(drows[1], p)", "dinto.addcmul_(drows[1], k)"),
    (chunked.backward, "dkeys * beta if apart", "drows[1] * beta if apart"),
    (chunked.step, "k if p is None else p", "k"),
    (by_rows.chunk, "steps - 1 :: steps", "::steps"),
    (by_momentum.chunk, "a.tril(-1) @ (beta * since)", "a @ (beta * since)"),
    (by_momentum.chunk, "d + beta * M", "d"),
    (by_momentum.chunk, "k_eta = eta * k", "k_eta = k"),
    (by_momentum.chunk, "- writes.mT @ w", ""),
    (by_momentum.carried, "torch.stack((A, c), -1)", "torch.stack((A, 0 * c), -1)"),
    (by_momentum.decays, "triu(1)", "triu(2)"),
]


def planted(function, old, new):
    """The code of a function of a module with a bug in it."""
    source = inspect.getsource(function)
    assert old in source, f"nothing to change: {old}"
    made = {}
    text = source.replace(old, new, 1)
    code = compile(text, "mutant", "exec", flags=__future__.annotations.compiler_flag)
    exec(code, vars(inspect.getmodule(function)), made)
    return made[function.__name__].__code__


@pytest.mark.parametrize(("function", "old", "new"), MUTANTS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_a_planted_bug_is_noticed(function, old, new, monkeypatch):
    name = "momentum_delta_rule" if inspect.getmodule(function) is by_momentum else "dplr"
    given = [arguments(name, 1), arguments(name, 40, rows=1 + (name == "dplr"))]
    expected = [outcome(CALLS[name], x, backend="reference") for x in given]
    monkeypatch.setattr(function, "__code__", planted(function, old, new))
    with pytest.raises(AssertionError):
        for x, wanted in zip(given, expected, strict=True):
            assert_close(outcome(CALLS[name], x), wanted, 1e-9)
