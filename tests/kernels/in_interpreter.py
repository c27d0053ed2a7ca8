"""The GPU kernels against the float64 definitions, in Triton's interpreter; `test_triton` runs this file.

The interpreter is a test of logic: it knows neither TF32 nor layouts, and its bfloat16 is wrong, so float32 and
float16 are what is tested here. It costs milliseconds an operation, so that shapes are small.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import triton
from hypothesis import given, settings
from hypothesis import strategies as st
from triton.runtime import interpreter

from asiarc.core.errors import KernelInputError
from asiarc.kernels import blocked as host
from asiarc.kernels.blocked import Variant, blocked, every_configuration

from .cases import OPERATORS, Case, assert_close, cases, examples, gradients, named
from .cases import run as call

assert triton.knobs.runtime.interpret


def device_function(self, *args, **kwargs):
    """A kernel's call of a function: the launch has made triton.language the interpreter's, which is dear to do anew
    at every call; not so where Triton's own functions look."""
    if self.fn.__module__.startswith("triton."):
        interpreter._patch_lang(self.fn)
    return self.rewrite()(*args, **kwargs)


interpreter.InterpretedFunction.__call__ = device_function

# Those that give the kernels what they are given; retention makes its own gates, delta_product its own rows.
DIRECT = tuple(op for op in OPERATORS if op.direct)
GATED_DELTA, MULTISTEP = OPERATORS[5], OPERATORS[7]
every_operator = pytest.mark.parametrize("op", OPERATORS, ids=str)
every_algebra = pytest.mark.parametrize("op", DIRECT, ids=str)


def run(case, tensors, **options):
    return call(case, tensors, backend="triton", **options)


def kernels(case, tensors, **options):
    """The kernels called directly, which lets the chunk length and the configurations be named."""
    x = tensors
    return blocked(
        x["q"], x["k"], x["v"], x.get("g"), x.get("beta"), case.K**-0.5, x.get("initial_state"), **options
    )  # fmt: skip


def reference(case, tensors, **options):
    return call(case, {name: x.double() for name, x in tensors.items()}, backend="reference", **options)


def check(case, outputs=1e-5, slopes=1e-4, dtype=torch.float32, compute=run, **options):
    """Outputs and every gradient against float64, on the very same inputs."""
    tensors = case.tensors(dtype, requires_grad=True)
    actual, expected = compute(case, tensors, **options), reference(case, tensors)
    assert actual[0].dtype == dtype and actual[1].dtype == torch.float32
    assert_close(named(actual), named(expected), outputs)
    found, wanted = gradients(case, actual, tensors), gradients(case, expected, tensors)
    assert all(found[name].dtype == x.dtype for name, x in tensors.items())
    assert_close(found, wanted, slopes)


@every_operator
@pytest.mark.parametrize(
    "shape",
    [
        dict(B=1, T=1, H=1, K=3, V=5),
        dict(B=2, T=17, H=1, groups=2, K=3, V=5),
        dict(B=1, T=64, H=1, K=20, V=33, state="none"),
        dict(B=1, T=131, H=1, K=16, V=16),
    ],
    ids=lambda shape: "x".join(str(shape[name]) for name in "BTHKV"),
)
def test_float32_against_the_definition_with_every_gradient(op, shape):
    check(Case(op, seed=1, steps=3 if op.steps > 1 else 1, **shape))


@every_algebra
@pytest.mark.parametrize("gate", ["zero", "strong", "reset", "mixed"])
def test_any_gate_is_finite_and_exact(op, gate):
    if op.gated or gate == "zero":
        check(Case(op, seed=2, B=1, T=40, H=1, gate=gate), compute=kernels, C=16)


@every_operator
def test_precision_does_not_fade_behind_strong_decay(op):
    case = Case(op, seed=3, B=1, T=64, H=1)
    tensors = case.tensors(torch.float32)
    if op.gated:
        tensors["g"][:, ::7] = -60.0
    assert_close(named(run(case, tensors)), named(reference(case, tensors)), 2e-6)


@every_operator
def test_half_precision_costs_some_roundings_of_its_own(op):
    check(Case(op, seed=4, B=1, T=40, H=1), 4e-3, 2e-2, torch.float16)


@every_algebra
@given(st.data())
@settings(examples, max_examples=3)
def test_drawn_cases(op, data):
    shape = dict(B=data.draw(st.integers(1, 2)), H=data.draw(st.integers(1, 2)), T=data.draw(st.integers(1, 40)))
    case = data.draw(cases(op, **shape, K=data.draw(st.sampled_from((1, 3, 16, 17))), V=data.draw(st.integers(1, 17))))
    check(case, 1e-4, 1e-3, compute=kernels, C=16)


@every_algebra
def test_the_chunk_length_does_not_matter(op):
    case = Case(op, seed=5, B=1, T=50, H=1, gate="reset")
    tensors = case.tensors(torch.float32, requires_grad=True)
    expected = kernels(case, tensors)
    slopes = gradients(case, expected, tensors)
    for C in (16, 32):
        outputs = kernels(case, tensors, C=C)
        assert_close(named(outputs), named(expected), 1e-5)
        assert_close(gradients(case, outputs, tensors), slopes, 1e-4)


@every_operator
def test_packed_sequences_equal_one_call_each(op):
    lengths, case = (5, 0, 33, 1, 16), Case(op, seed=6, B=1, T=55, H=1)
    tensors = case.tensors(torch.float32, requires_grad=True)
    states = case.normal("states", len(lengths), 1, case.K, case.V).float().requires_grad_()
    tensors["initial_state"] = states
    packed = run(case, tensors, cu_seqlens=torch.tensor([0, *lengths]).cumsum(0))
    outputs, finals, start = [], [], 0
    for n, length in enumerate(lengths):
        part = {name: x[:, start : start + length] for name, x in tensors.items()}
        part["initial_state"] = states[n : n + 1]
        if length:
            o, final = reference(case, part)
            outputs.append(o)
        finals.append(final if length else states[n : n + 1].double())
        start += length
    looped = torch.cat(outputs, dim=1), torch.cat(finals)
    assert_close(named(packed), named(looped), 1e-5)
    assert_close(gradients(case, packed, tensors), gradients(case, looped, tensors), 1e-4)


def test_boundaries_of_packed_sequences_count_tokens_not_rows():
    lengths, case = (5, 1, 14), Case(MULTISTEP, seed=21, B=1, T=20, H=1, steps=2)
    tensors = case.tensors(torch.float32)
    tensors["initial_state"] = case.normal("states", len(lengths), 1, case.K, case.V).float()
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    packed = run(case, tensors, cu_seqlens=bounds)
    assert_close(named(packed), named(reference(case, tensors, cu_seqlens=bounds)), 1e-5)


def test_boundaries_changed_in_place_are_read_again():
    case = Case(GATED_DELTA, seed=7, B=1, T=20, H=1, state="none")
    tensors, bounds = case.tensors(torch.float32), torch.tensor([0, 10, 20])
    first = run(case, tensors, cu_seqlens=bounds)[0]
    bounds[1] = 4
    second = run(case, tensors, cu_seqlens=bounds)[0]
    assert not torch.equal(first, second)
    assert torch.equal(second, run(case, tensors, cu_seqlens=torch.tensor([0, 4, 20]))[0])


@every_algebra
def test_every_configuration_computes_the_same(op):
    case = Case(op, seed=8, B=1, T=20, H=1, K=40, V=70)
    for configs in every_configuration(Variant(op.gate_axes, op.erases, case.K, case.V, torch.float32, 16)):
        check(case, compute=kernels, C=16, configs=configs)


@every_algebra
def test_the_past_does_not_know_the_future(op):
    case, other, cut = Case(op, seed=9, B=1, T=40, H=1), Case(op, seed=10, B=1, T=40, H=1), 21
    tensors, later = case.tensors(torch.float32, requires_grad=True), other.tensors(torch.float32)
    mixed = {
        name: x if name == "initial_state" else torch.cat((x[:, :cut], later[name][:, cut:]), 1)
        for name, x in tensors.items()
    }
    o = kernels(case, tensors, C=16)[0]
    assert torch.equal(o[:, :cut], kernels(case, mixed, C=16)[0][:, :cut])
    found = torch.autograd.grad(o[:, :cut].square().sum(), list(tensors.values()))
    for (name, _), slope in zip(tensors.items(), found, strict=True):
        assert name == "initial_state" or slope[:, cut:].abs().max() == 0, name


@every_algebra
def test_a_state_handed_over_continues_the_sequence(op):
    case, cut = Case(op, seed=11, B=1, T=40, H=1), 19
    tensors = case.tensors(torch.float32, requires_grad=True)

    def part(rows, state):
        return {name: x[:, rows] for name, x in tensors.items() if name != "initial_state"} | {"initial_state": state}

    first, state = kernels(case, part(slice(0, cut), tensors["initial_state"]), C=16)
    second, final = kernels(case, part(slice(cut, None), state), C=16)
    parts, whole = (torch.cat((first, second), dim=1), final), reference(case, tensors)
    assert_close(named(parts), named(whole), 1e-5)
    assert_close(gradients(case, parts, tensors), gradients(case, whole, tensors), 1e-4)


@every_algebra
def test_strides_upstream_strides_and_inputs_are_left_alone(op):
    case = Case(op, seed=12, B=1, T=20, H=1, groups=2)
    tensors = case.tensors(torch.float32, requires_grad=True)
    before = {name: x.detach().clone() for name, x in tensors.items()}
    o, final = kernels(case, tensors, C=16)
    dense = torch.autograd.grad((o, final), list(tensors.values()), (torch.ones_like(o), torch.ones_like(final)))
    strided = {}
    for name, x in before.items():
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan, dtype=x.dtype)
        wide[..., ::2] = x
        strided[name] = wide[..., ::2].requires_grad_()
    o_, final_ = kernels(case, strided, C=16)
    summed = torch.autograd.grad(o_.sum() + final_.sum(), list(strided.values()))
    assert torch.equal(o, o_) and torch.equal(final, final_)
    assert all(torch.equal(a, b) for a, b in zip(dense, summed, strict=True))
    assert all(torch.equal(x, before[name]) for name, x in tensors.items())


@pytest.mark.parametrize("op", [op for op in DIRECT if op.gated and op.erases], ids=str)
def test_one_input_wants_a_gradient_and_one_output_has_one(op):
    case = Case(op, seed=13, B=1, T=20, H=1)
    full = case.tensors(torch.float32, requires_grad=True)

    def slopes(outputs, leaves):
        """Those of one output alone, for each output."""
        losses = [x.square().sum() for x in outputs]
        how = dict(materialize_grads=True, allow_unused=True, retain_graph=True)
        return [torch.autograd.grad(loss, leaves, **how) for loss in losses]

    wanted = slopes(reference(case, full), list(full.values()))
    for i, name in enumerate(full):
        alone = {other: x.detach() for other, x in full.items()}
        alone[name].requires_grad_()
        for found, expected in zip(slopes(kernels(case, alone, C=16), [alone[name]]), wanted, strict=True):
            assert_close({name: found[0]}, {name: expected[i]}, 1e-4)


def test_no_gradient_wanted_saves_nothing_and_gives_the_same():
    case = Case(GATED_DELTA, seed=14, B=1, T=20, H=1)
    tensors = case.tensors(torch.float32)
    plain = kernels(case, tensors, C=16)
    wanting = kernels(case, case.tensors(torch.float32, requires_grad=True), C=16)
    assert plain[0].grad_fn is None
    assert all(torch.equal(a, b) for a, b in zip(plain, wanting, strict=True))


def test_second_derivatives_are_refused():
    case = Case(GATED_DELTA, seed=15, B=1, T=3, H=1, K=2, V=2)
    tensors = case.tensors(torch.float32, requires_grad=True)
    first = torch.autograd.grad(run(case, tensors)[0].square().sum(), tensors["q"], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("changed", [dict(dtype=torch.float64), dict(K=257)], ids=["float64", "K257"])
def test_what_the_kernels_do_not_take_is_refused(changed):
    dtype = changed.pop("dtype", torch.float32)
    case = Case(GATED_DELTA, seed=16, B=1, T=2, H=1, V=2, **changed)
    with pytest.raises(KernelInputError, match=r"backend 'triton'.*allowed: float32.*backend='chunk'"):
        run(case, case.tensors(dtype))


@pytest.mark.parametrize("norm", [1.0, 4.0, 16.0])
def test_long_keys_lose_no_more_digits_than_the_recurrence_must(norm):
    case = Case(GATED_DELTA, seed=17, B=1, T=64, H=1, K=32, V=8, state="none")
    tensors = case.tensors(torch.float32)
    tensors["k"] *= norm
    tensors["beta"] /= norm**2
    assert_close(named(run(case, tensors)), named(reference(case, tensors)), 2e-5)


# Classes of `mutants.CLASSES`, planted bug: the change of text.
MUTANTS = {
    "2: the diagonal of the scores is dropped": ("tl.where(i >= j, Xq, 0.0)", "tl.where(i > j, Xq, 0.0)"),
    "33: the solve forgets the gate": ("            X *= decay(G_[:, None] - G_[None, :])\n", "            X *= 1.0\n"),
    "10,36: a chunk decays as its first token": ("last = first + tl.minimum(p.C, end - first) - 1", "last = first"),
    "21: the state of the chunk is not decayed": ("            S_ *= decay(G_last)\n", "            S_ *= 1.0\n"),
    "1,16: blocks are merged with the wrong sign": ("whole -= tl.dot(", "whole += tl.dot("),
    "2: the strength is left out of the write": (
        "            write *= column(x.beta, first, h, HV, rows, inside)\n            if p.SAVES",
        "            if p.SAVES",
    ),
    "2: dk misses what the solve gives": (
        "dS_ -= tl.dot(tl.trans(k_), (dy", "dS_ -= 0 * tl.dot(tl.trans(k_), (dy",
    ),
    "24: the gate's slope ends a token early": ("tl.where(j < i, ends, 0.0)", "tl.where(j + 1 < i, ends, 0.0)"),
    "24: the slope of the solve is not decayed": ("Dq_, Dk_ = Dq_ * L, Dk_ * L", "Dq_ = Dq_ * L"),
    "24,25: the slope of the carried state is dropped": ("tl.sum(ends, 1) + tl.sum(over, 0)", "tl.sum(ends, 1)"),
    "31: grouped heads share the first key head": ("head = h // (HV // H)", "head = h * 0"),
    "13,40: a reset overflows": ("tl.where(steps < FLOOR, FLOOR, steps)", "steps"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # a NaN must reach the check
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_kernels_is_caught(name, tmp_path, monkeypatch):
    old, new = MUTANTS[name]
    text = Path(host.blocks.__file__).read_text()
    assert old in text
    (tmp_path / "mutant.py").write_text(text.replace(old, new))
    spec = importlib.util.spec_from_file_location("mutant", tmp_path / "mutant.py")
    mutant = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutant)
    monkeypatch.setattr(host, "blocks", mutant)
    with pytest.raises(AssertionError):
        for gate in ("reset", "tiny"):
            check(Case(GATED_DELTA, seed=18, B=1, T=45, H=2, groups=2, gate=gate), compute=kernels, C=32)
