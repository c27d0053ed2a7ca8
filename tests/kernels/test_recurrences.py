"""Properties of every operator with a matrix state, one suite over all of them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asiarc.kernels.chunked import SLAB, chunked
from asiarc.kernels.definitions import materialised, recurrence

from .cases import (
    ERASING,
    GATED,
    GATES,
    OPERATORS,
    Case,
    assert_close,
    cases,
    examples,
    gradients,
    named,
    run,
)  # fmt: skip

every_operator = pytest.mark.parametrize("op", OPERATORS, ids=str)


def reference(case, tensors, form=recurrence):
    """One of the two definitions in float64, called directly: scale and grouped heads are applied here."""
    x = {name: value.double() for name, value in tensors.items()}
    q, k = (x[name].repeat_interleave(case.groups, dim=2) for name in "qk")
    v, g = x["v"], x.get("g")
    if case.op.name == "retention":
        g = torch.log1p(-torch.exp2(-5.0 - torch.arange(v.shape[2]).double())).expand(v.shape[:3])
    state = x.get("initial_state", q.new_zeros(case.B, v.shape[2], case.K, case.V))
    return form(q, k, v, g, x.get("beta"), case.K**-0.5, state)


def sliced(case, tensors, start, stop, state):
    """The arguments for tokens start to stop, continuing from a state."""
    rows = {"k": case.steps, "v": case.steps, "beta": case.steps}
    part = {n: x[:, start * rows.get(n, 1) : stop * rows.get(n, 1)] for n, x in tensors.items() if n != "initial_state"}
    return part if state is None else part | {"initial_state": state}


@every_operator
@given(st.data())
@examples
def test_two_definitions_agree(op, data):
    case = data.draw(cases(op))
    tensors = case.tensors()
    expected = named(reference(case, tensors))
    assert_close(named(reference(case, tensors, materialised)), expected, 1e-10)
    assert_close(named(run(case, tensors, backend="reference")), expected, 1e-14)


@every_operator
@given(st.data())
@examples
def test_chunks_equal_the_recurrence_with_all_gradients(op, data):
    case = data.draw(cases(op))
    tensors = case.tensors(requires_grad=True)
    expected, actual = reference(case, tensors), run(case, tensors)
    assert_close(named(actual), named(expected), 1e-10)
    assert_close(gradients(case, actual, tensors), gradients(case, expected, tensors), 1e-9)


@every_operator
@given(st.data())
@examples
def test_float32_stays_close_to_float64_in_every_chunk_and_head(op, data):
    case = data.draw(cases(op))
    tensors = case.tensors(torch.float32, requires_grad=True)
    expected, actual = reference(case, tensors), run(case, tensors)
    # A head of one channel is one number: where its terms cancel, it keeps three digits of theirs.
    assert_close(named(actual), named(expected), 1e-3)
    assert_close(gradients(case, actual, tensors), gradients(case, expected, tensors), 1e-3)


@every_operator
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_costs_no_more_than_its_rounding(op, dtype):
    case = Case(op, seed=1, T=70)
    tensors = case.tensors(dtype)
    o, final = run(case, tensors)
    assert o.dtype == dtype and final.dtype == torch.float32
    expected = reference(case, tensors)
    assert_close({"o": o}, {"o": expected[0]}, 0.6 * torch.finfo(dtype).eps)  # rounded once, at the end
    assert_close({"final_state": final}, {"final_state": expected[1]}, 1e-5)


@every_operator
@given(st.data())
@examples
def test_a_state_handed_over_continues_the_sequence_with_its_gradients(op, data):
    case = data.draw(cases(op, T=data.draw(st.integers(2, 70))))
    cut = data.draw(st.integers(1, case.T - 1))
    tensors = case.tensors(requires_grad=True)
    whole = run(case, tensors)
    first, state = run(case, sliced(case, tensors, 0, cut, tensors.get("initial_state")))
    second, final = run(case, sliced(case, tensors, cut, case.T, state))
    parts = torch.cat((first, second), dim=1), final
    assert_close(named(parts), named(whole), 1e-10)
    assert_close(gradients(case, parts, tensors), gradients(case, whole, tensors), 1e-9)


@every_operator
def test_decoding_token_by_token_equals_the_whole(op):
    case = Case(op, seed=2, T=37, groups=2, steps=op.steps)
    tensors = case.tensors()
    state, outputs = tensors["initial_state"], []
    for t in range(case.T):
        o, state = run(case, sliced(case, tensors, t, t + 1, state))
        outputs.append(o)
    assert_close(named((torch.cat(outputs, dim=1), state)), named(run(case, tensors)), 1e-12)


@every_operator
@given(st.data())
@examples
def test_packed_sequences_equal_one_call_each(op, data):
    lengths = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any))
    case = data.draw(cases(op, B=1, T=sum(lengths), state=data.draw(st.sampled_from(("random", "none")))))
    tensors = case.tensors(requires_grad=True)
    states = None
    if case.state == "random":
        states = case.normal("states", len(lengths), *tensors["initial_state"].shape[1:]).requires_grad_()
        tensors["initial_state"] = states
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    packed = run(case, tensors, cu_seqlens=bounds)
    outputs, finals = [], []
    for i, length in enumerate(lengths):
        start = None if states is None else states[i : i + 1]
        zero = torch.zeros(1, case.H * case.groups, case.K, case.V, dtype=torch.float64)
        o, final = tensors["v"][:, :0], zero if start is None else start
        if length:
            o, final = run(case, sliced(case, tensors, int(bounds[i]), int(bounds[i + 1]), start))
        outputs.append(o)
        finals.append(final)
    looped = torch.cat(outputs, dim=1), torch.cat(finals)
    assert_close(named(packed), named(looped), 1e-11)
    assert_close(gradients(case, packed, tensors), gradients(case, looped, tensors), 1e-10)


def test_boundaries_changed_in_place_are_read_again():
    case = Case(OPERATORS[5], seed=3, B=1, T=20, state="none")
    tensors, bounds = case.tensors(), torch.tensor([0, 10, 20])
    first = run(case, tensors, cu_seqlens=bounds)[0]
    bounds[1] = 4
    second = run(case, tensors, cu_seqlens=bounds)[0]
    assert not torch.equal(first, second)
    assert torch.equal(second, run(case, tensors, cu_seqlens=torch.tensor([0, 4, 20]))[0])


def test_many_sequences_of_one_token():
    case = Case(OPERATORS[5], seed=4, B=1, T=70_000, H=1, K=2, V=2, state="none")
    tensors = case.tensors(torch.float32)
    o, final = run(case, tensors, cu_seqlens=torch.arange(70_001))
    y = tensors["beta"][0, :, :, None] * tensors["v"][0]
    torch.testing.assert_close(final, tensors["k"][0, :, :, :, None] * y[:, :, None, :])
    torch.testing.assert_close(o[0], (tensors["q"] * tensors["k"])[0].sum(-1, keepdim=True) * y * 2**-0.5)


@every_operator
def test_the_tail_of_a_very_long_sequence_is_computed(op):
    T, cut = 65_600, 65_530
    case = Case(op, seed=5, B=1, T=T, H=1, K=2, V=2, steps=op.steps)
    tensors = case.tensors(torch.float32)
    o, final = run(case, tensors)
    state = run(case, sliced(case, tensors, 0, cut, None) | {"initial_state": tensors["initial_state"]})[1]
    tail = run(case, sliced(case, tensors, cut, T, state))
    assert_close({"o": o[:, cut:], "final_state": final}, named(tail), 1e-4)


@every_operator
@given(st.data())
@examples
def test_heads_do_not_mix(op, data):
    case = data.draw(cases(op, H=3))
    tensors = case.tensors()
    other = dataclasses.replace(case, seed=case.seed + 1).tensors()
    changed = {
        n: torch.cat((other[n][:, :, :width], x[:, :, width:]), dim=2)
        if n != "initial_state"
        else torch.cat((other[n][:, : case.groups], x[:, case.groups :]), dim=1)
        for n, x in tensors.items()
        for width in [1 if n in "qk" else case.groups]
    }
    (o, final), (o_changed, final_changed) = run(case, tensors), run(case, changed)
    assert torch.equal(o[:, :, case.groups :], o_changed[:, :, case.groups :])
    assert torch.equal(final[:, case.groups :], final_changed[:, case.groups :])


@every_operator
@given(st.data())
@examples
def test_a_prefix_keeps_its_bits_whatever_follows_it(op, data):
    case = data.draw(cases(op, T=data.draw(st.integers(2, 70))))
    cut = data.draw(st.integers(1, case.T - 1))
    tensors = case.tensors(torch.float32)
    other = dataclasses.replace(case, seed=case.seed + 1).tensors(torch.float32)
    steps = {"k": case.steps, "v": case.steps, "beta": case.steps}
    mixed = {
        n: x
        if n == "initial_state"
        else torch.cat((x[:, : cut * steps.get(n, 1)], other[n][:, cut * steps.get(n, 1) :]), 1)
        for n, x in tensors.items()
    }
    assert torch.equal(run(case, tensors)[0][:, :cut], run(case, mixed)[0][:, :cut])


@every_operator
@given(st.data())
@examples
def test_a_shorter_sequence_gives_the_same_prefix(op, data):
    case = data.draw(cases(op, T=data.draw(st.integers(2, 70))))
    cut = data.draw(st.integers(1, case.T - 1))
    tensors = case.tensors(torch.float32)
    shorter, _ = run(case, sliced(case, tensors, 0, cut, tensors.get("initial_state")))
    longer = run(case, tensors)[0][:, :cut]
    assert_close({"o": shorter}, {"o": longer}, 1e-4)
    assert cut == 1 or torch.equal(shorter, longer)  # one token alone is a step of decoding, not a chunk


@every_operator
def test_the_past_has_no_gradient_to_the_future(op):
    case = Case(op, seed=5, T=50, steps=op.steps)
    tensors = case.tensors(torch.float32, requires_grad=True)
    cut = 37
    o, _ = run(case, tensors)
    found = torch.autograd.grad(o[:, :cut].square().sum(), list(tensors.values()))
    for (name, x), gradient in zip(tensors.items(), found, strict=True):
        if name != "initial_state":
            assert gradient[:, cut * (x.shape[1] // case.T) :].abs().max() == 0, name


@every_operator
@given(st.data())
@examples
def test_batch_companions_do_not_matter(op, data):
    case = data.draw(cases(op, B=3))
    tensors = case.tensors()
    o, final = run(case, tensors)
    for b in range(case.B):
        alone = run(case, {name: x[b : b + 1] for name, x in tensors.items()})
        assert_close(named(alone), {"o": o[b : b + 1], "final_state": final[b : b + 1]}, 1e-12)


@every_operator
def test_gradcheck(op):
    case = Case(op, seed=6, B=1, T=5, H=1, groups=2, K=3, V=2, steps=op.steps)
    tensors = case.tensors(requires_grad=True)

    def call(*values):
        return run(case, dict(zip(tensors, values, strict=True)))

    assert torch.autograd.gradcheck(call, tuple(tensors.values()))


@every_operator
def test_gradcheck_over_a_chunk_boundary(op):
    case = Case(op, seed=7, B=1, T=34, H=1, K=2, V=2)
    tensors = case.tensors(requires_grad=True)

    def call(*values):
        return run(case, dict(zip(tensors, values, strict=True)))

    assert torch.autograd.gradcheck(call, tuple(tensors.values()), fast_mode=True)


@every_operator
def test_only_one_input_wants_a_gradient(op):
    case = Case(op, seed=8, groups=2)
    full = case.tensors(requires_grad=True)
    expected = gradients(case, run(case, full), full)
    for name in full:
        alone = case.tensors()
        alone[name].requires_grad_()
        assert_close(gradients(case, run(case, alone), {name: alone[name]}), {name: expected[name]}, 1e-14)


@every_operator
def test_a_loss_on_one_output_only(op):
    case = Case(op, seed=9, T=35)
    tensors = case.tensors(requires_grad=True)
    for pick in (0, 1):
        expected = torch.autograd.grad(
            reference(case, tensors)[pick].square().sum(),
            list(tensors.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        found = torch.autograd.grad(
            run(case, tensors)[pick].square().sum(), list(tensors.values()), allow_unused=True, materialize_grads=True
        )
        assert_close(dict(zip(tensors, found, strict=True)), dict(zip(tensors, expected, strict=True)), 1e-9)


@every_operator
@pytest.mark.parametrize("T", [32, 33])
def test_strides_do_not_matter(op, T):
    case = Case(op, seed=10, B=2, T=T, H=2, groups=2)
    tensors = case.tensors()
    expected = run(case, tensors)
    strided = {}
    for name, x in tensors.items():
        swapped = torch.full((x.shape[1], x.shape[0], *x.shape[2:-1], 2 * x.shape[-1]), torch.nan, dtype=x.dtype)
        strided[name] = swapped.transpose(0, 1)[..., ::2].copy_(x)
        assert not strided[name].is_contiguous()
    assert all(torch.equal(a, b) for a, b in zip(run(case, strided), expected, strict=True))


@every_operator
def test_an_expanded_upstream_gradient(op):
    case = Case(op, seed=11, T=20)
    tensors = case.tensors(requires_grad=True)
    summed = torch.autograd.grad(run(case, tensors)[0].sum(), list(tensors.values()))
    o = run(case, tensors)[0]
    dense = torch.autograd.grad(o, list(tensors.values()), torch.ones_like(o))
    assert all(torch.equal(a, b) for a, b in zip(summed, dense, strict=True))


@every_operator
def test_inputs_are_left_as_they_are(op):
    for shape in (dict(B=2, T=40), dict(B=1, T=32, H=1), dict(B=1, T=1, H=1)):
        case = Case(op, seed=12, **shape)
        tensors = case.tensors(requires_grad=True)
        before = {name: x.detach().clone() for name, x in tensors.items()}
        versions = {name: x._version for name, x in tensors.items()}
        o, final = run(case, tensors)
        kept = o.detach().clone(), final.detach().clone()
        gradients(case, (o, final), tensors)
        assert all(torch.equal(x, before[name]) and x._version == versions[name] for name, x in tensors.items())
        assert torch.equal(o, kept[0]) and torch.equal(final, kept[1])


@every_operator
def test_nothing_is_remembered_between_calls(op):
    case, later = Case(op, seed=13), Case(op, seed=14)
    buffers = case.tensors()
    first = run(case, buffers)
    for name, x in later.tensors().items():
        buffers[name].copy_(x)
    second = run(case, buffers)
    assert not torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(second, run(later, later.tensors()), strict=True))


@every_operator
def test_the_same_call_gives_the_same_bits(op):
    case = Case(op, seed=15, T=70)
    results = []
    for _ in range(3):
        tensors = case.tensors(torch.float32, requires_grad=True)
        outputs = run(case, tensors)
        results.append((*outputs, *gradients(case, outputs, tensors).values()))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@every_operator
def test_grouped_value_heads_repeat_the_key_heads(op):
    case = Case(op, seed=16, H=2, groups=3)
    tensors = case.tensors()
    repeated = tensors | {name: tensors[name].repeat_interleave(3, dim=2) for name in "qk"}
    assert all(torch.equal(a, b) for a, b in zip(run(case, tensors), run(case, repeated), strict=True))


@every_operator
def test_output_is_linear_in_values_and_state_and_scales_with_queries(op):
    case, other = Case(op, seed=17), Case(op, seed=18).tensors()
    x = case.tensors()
    summed = x | {name: x[name] + 2 * other[name] for name in ("v", "initial_state")}
    second = x | {name: other[name] for name in ("v", "initial_state")}
    expected = {n: a + 2 * b for (n, a), b in zip(named(run(case, x)).items(), run(case, second), strict=True)}
    assert_close(named(run(case, summed)), expected, 1e-12)
    assert_close({"o": run(case, x, scale=0.5)[0]}, {"o": run(case, x | {"q": 2 * x["q"]}, scale=0.25)[0]}, 1e-14)


@pytest.mark.parametrize("op", GATED, ids=str)
def test_a_gate_of_zero_is_no_gate(op):
    ungated = {"simple_gla": 0, "gla": 0, "gated_delta_rule": 4, "kda": 4, "delta_product": 7}[op.name]
    case = Case(op, seed=19, gate="zero", T=70)
    tensors = case.tensors()
    plain = {name: x for name, x in tensors.items() if name != "g"}
    assert_close(named(run(case, tensors)), named(run(OPERATORS[ungated], plain)), 1e-12)


@pytest.mark.parametrize("op", GATED, ids=str)
def test_a_reset_forgets_everything_before_it(op):
    case, at = Case(op, seed=20, T=50), 21
    tensors = case.tensors()
    tensors["g"][:, at] = -torch.inf
    after = sliced(case, tensors, at, case.T, None)
    o, final = run(case, tensors)
    assert_close(named((o[:, at:], final)), named(run(case, after)), 1e-12)


@pytest.mark.parametrize("op", GATED, ids=str)
@pytest.mark.parametrize("gate", GATES)
def test_any_gate_is_finite_and_exact_forward_and_backward(op, gate):
    case = Case(op, seed=21, T=70, gate=gate)
    tensors = case.tensors(torch.float32, requires_grad=True)
    outputs, expected = run(case, tensors), reference(case, tensors)
    found, wanted = gradients(case, outputs, tensors), gradients(case, expected, tensors)
    assert_close(named(outputs), named(expected), 2e-5)
    assert_close(found, wanted, 1e-4)


@pytest.mark.parametrize("op", GATED, ids=str)
def test_precision_does_not_fade_behind_strong_decay(op):
    """A running sum of gates that is differenced in float32 loses its digits after a step of -60."""
    case = Case(op, seed=22, T=64)
    tensors = case.tensors(torch.float32)
    tensors["g"][:, ::7] = -60.0
    assert_close(named(run(case, tensors)), named(reference(case, tensors)), 2e-6)


@pytest.mark.parametrize("op", ERASING, ids=str)
def test_strength_zero_writes_nothing(op):
    case = Case(op, seed=23, beta="zero", gate="zero")
    tensors = case.tensors()
    o, final = run(case, tensors)
    torch.testing.assert_close(final, tensors["initial_state"])
    torch.testing.assert_close(o, torch.einsum("bthk,bhkv->bthv", tensors["q"], final) * case.K**-0.5)


@pytest.mark.parametrize("op", ERASING, ids=str)
def test_orthonormal_keys_recall_exactly_and_a_second_write_replaces_the_first(op):
    case = Case(op, seed=24, T=32, K=16, keys="orthogonal", beta="one", gate="zero", state="none")
    tensors = case.tensors()
    tensors["q"] = tensors["k"].clone()
    o, final = run(case, tensors, scale=1.0)
    torch.testing.assert_close(o, tensors["v"])
    torch.testing.assert_close(final.transpose(1, 2), tensors["v"][:, 16:])


@pytest.mark.parametrize("op", ERASING, ids=str)
def test_the_homogeneous_state_does_not_expand(op):
    for beta in ("one", "two", "random"):
        case = Case(op, seed=25, T=64, beta=beta, gate="zero")
        tensors = case.tensors()
        tensors["v"].zero_()
        _, final = run(case, tensors)
        before, after = (torch.linalg.matrix_norm(x, 2) for x in (tensors["initial_state"], final))
        assert (after <= before * (1 + 1e-5)).all()  # unit keys are so to float32


@pytest.mark.parametrize("norm", [1.0, 4.0, 16.0])
def test_long_keys_lose_no_more_digits_than_the_recurrence_must(norm):
    """Powers of the score matrix would overflow here; substitution follows the recurrence."""
    case = Case(OPERATORS[5], seed=26, T=64, K=32, V=8, state="none")
    tensors = case.tensors()
    tensors["k"] *= norm
    tensors["beta"] /= norm**2
    assert_close(named(run(case, tensors)), named(reference(case, tensors)), 1e-11)


@pytest.mark.parametrize("C", [4, 8, 16, 64, 128])
@pytest.mark.parametrize("op", [op for op in OPERATORS if op.direct], ids=str)
def test_the_chunk_length_does_not_matter(op, C):
    case = Case(op, seed=27, T=70, gate="reset")
    x = case.tensors()
    outputs = chunked(x["q"], x["k"], x["v"], x.get("g"), x.get("beta"), case.K**-0.5, x["initial_state"], C)
    assert_close(named(outputs), named(reference(case, x)), 1e-11)


@every_operator
def test_sequences_worked_on_in_turn_equal_all_at_once(op, monkeypatch):
    case = Case(op, seed=30, B=5, T=40)
    whole = case.tensors(requires_grad=True)
    outputs = run(case, whole)
    found = gradients(case, outputs, whole)
    assert 2 * case.T * case.H * case.K * 2 < SLAB
    monkeypatch.setattr("asiarc.kernels.chunked.SLAB", 2 * case.T * case.H * case.K)
    parts = case.tensors(requires_grad=True)
    again = run(case, parts)
    assert all(torch.equal(a, b) for a, b in zip(again, outputs, strict=True))
    assert_close(gradients(case, again, parts), found, 1e-14)


@pytest.mark.parametrize("op", [op for op in OPERATORS if not op.erases], ids=str)
def test_states_summed_in_runs_equal_one_after_the_other(op, monkeypatch):
    """At every length of the last run; what follows a prefix does not reach its bits."""
    for T in (33, 64, 80, 100):
        case = Case(op, seed=31, T=T, K=4, V=4)
        whole = case.tensors(requires_grad=True)
        monkeypatch.setattr("asiarc.kernels.chunked.RUN", 1000)
        outputs = run(case, whole)
        found = gradients(case, outputs, whole)
        monkeypatch.setattr("asiarc.kernels.chunked.RUN", 2)
        again = run(case, whole)
        assert_close(named(again), named(outputs), 1e-14)
        assert_close(gradients(case, again, whole), found, 1e-13)
        shorter = {n: x if n == "initial_state" else x[:, :-16] for n, x in whole.items()}
        assert torch.equal(run(case, shorter)[0], again[0][:, :-16])


@every_operator
def test_autocast_does_not_reach_inside(op):
    case = Case(op, seed=28)
    tensors = case.tensors(torch.float32, requires_grad=True)
    expected = run(case, tensors)
    wanted = gradients(case, expected, tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = run(case, tensors)
        within = gradients(case, run(case, tensors), tensors)
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
    found = gradients(case, outputs, tensors)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert all(torch.equal(within[name], wanted[name]) for name in wanted)


@every_operator
def test_second_derivatives_are_refused_by_chunks_and_given_by_the_reference(op):
    case = Case(op, seed=29, B=1, T=3, H=1, K=2, V=2)
    tensors = case.tensors(requires_grad=True)
    first = torch.autograd.grad(run(case, tensors)[0].square().sum(), tensors["q"], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()

    def call(*values):
        return run(case, dict(zip(tensors, values, strict=True)), backend="reference")

    assert torch.autograd.gradgradcheck(call, tuple(tensors.values()), fast_mode=True)
