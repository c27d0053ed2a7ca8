"""Whatever the grammar composes is a candidate that keeps its contract, and code that a person can read.

The properties are written as checks that raise, and each check is shown a rendered source with one line
broken: a check that lets its cheat pass would fail here.
"""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.candidate import load_mixer
from asiarc.core.genome import LATER, domain, random_genome
from asiarc.researcher.designs import DESIGNS
from asiarc.researcher.mechanisms import choice_of, with_choice
from asiarc.researcher.render import render

D, H, T = 32, 2, 41
genomes = st.integers(0, 2**32).map(lambda seed: random_genome(random.Random(seed)))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Calls are small here, and threads that wait for each other on shared cores cost many times what they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(source):
    torch.manual_seed(1)
    return load_mixer(source)(D, H).double()


def inputs(batch=2, tokens=T):
    return torch.randn(batch, tokens, D, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def check_causal(mixer, cut=23):
    """The past neither changes with the future nor sends it a gradient."""
    x = inputs().requires_grad_()
    y, _ = mixer(x)
    y[:, :cut].square().sum().backward()
    assert torch.count_nonzero(x.grad[:, cut:]) == 0, "gradient from past outputs to future inputs"
    with torch.no_grad():
        other = torch.cat((x[:, :cut], 10 + torch.randn_like(x[:, cut:])), dim=1)
        assert torch.equal(mixer(other)[0][:, :cut], y[:, :cut]), "past outputs depend on the future"


def check_hand_over(mixer, cuts):
    """Pieces that hand their state over equal the whole, and calls leave the given state alone."""
    x = inputs()
    with torch.no_grad():
        whole, _ = mixer(x)
        state, pieces = None, []
        for piece in torch.tensor_split(x, sorted(cuts), dim=1):
            before = copy.deepcopy(state)
            y, after = mixer(piece, state)
            assert state is None or all(torch.equal(state[key], before[key]) for key in before), "state overwritten"
            state = after
            pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-7, atol=1e-9)


def check_batch_rows_are_strangers(mixer):
    """A row's output does not depend on its neighbours, and each row of the state belongs to one of them."""
    x = inputs(3)
    with torch.no_grad():
        whole, state = mixer(x)
        alone, _ = mixer(x[1:2])
        torch.testing.assert_close(whole[1:2], alone, rtol=1e-7, atol=1e-9)
        assert {tensor.shape[0] for tensor in state.values()} == {3}


def check_gradients(mixer):
    """Every parameter takes part."""
    y, _ = mixer(inputs())
    y.square().mean().backward()
    for label, parameter in mixer.named_parameters():
        assert parameter.grad is not None, f"{label}: no gradient"
        assert parameter.grad.isfinite().all(), f"{label}: not finite"
        assert parameter.grad.abs().sum() > 0, f"{label}: zero gradient"


def check_repeatable(mixer):
    """Same input, same output, in training and in evaluation."""
    x = inputs()
    with torch.no_grad():
        first, _ = mixer(x)
        assert torch.equal(first, mixer(x)[0])
        assert torch.equal(first, mixer.eval()(x)[0])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(genomes, st.lists(st.integers(1, T - 1), max_size=3, unique=True))
def test_whatever_is_composed_keeps_the_contract(genome, cuts):
    mixer = build(render(genome))
    check_causal(mixer)
    check_hand_over(mixer, cuts)
    check_batch_rows_are_strangers(mixer)
    check_repeatable(mixer)
    check_gradients(mixer)


CASES = [(field, value) for field, values in domain().items() for value in values if value != domain()[field][0]]


@pytest.mark.parametrize(("field", "value"), CASES, ids=[f"{field}-{value}" for field, value in CASES])
def test_every_choice_keeps_the_contract(field, value):
    mixer = build(render(with_choice(DESIGNS["linear_attention"], field, value)))
    check_causal(mixer)
    check_hand_over(mixer, [1, 20])
    check_gradients(mixer)


def holding(tag):
    """A random genome that holds a choice."""
    field, value = choice_of(tag)
    drawn = (with_choice(random_genome(random.Random(f"{tag} {n}")), field, value) for n in range(200))
    return next(genome for genome in drawn if getattr(genome, field) == value)


@pytest.mark.parametrize("tag", sorted(LATER))
def test_every_later_choice_keeps_the_contract_in_whatever_it_is_composed_with(tag):
    mixer = build(render(holding(tag)))
    check_causal(mixer)
    check_hand_over(mixer, [1, 20, 33])
    check_batch_rows_are_strangers(mixer)
    check_repeatable(mixer)
    check_gradients(mixer)


@pytest.mark.parametrize("name", sorted(DESIGNS))
def test_every_design_keeps_the_contract(name):
    mixer = build(render(DESIGNS[name]))
    check_causal(mixer)
    check_hand_over(mixer, range(1, T))
    check_batch_rows_are_strangers(mixer)
    check_gradients(mixer)


CHEATS = {
    "convolution forgets": ('initial_state=state.get("conv")', "initial_state=None", "hand_over"),
    "memory forgets": ('initial_state=state.get("memory")', "initial_state=None", "hand_over"),
    "long path forgets": ('initial_state=state.get("long")', "initial_state=None", "hand_over"),
    "router sees the mean of the sequence": (
        "self.router(seen_BTN)", "self.router(seen_BTN.mean(1, keepdim=True).expand_as(seen_BTN))", "causal"
    ),
    "router looks one token ahead": ("self.router(seen_BTN)", "self.router(seen_BTN.roll(-1, 1))", "causal"),
    "rows share a gate": (
        "self.router(seen_BTN)", "self.router(seen_BTN.mean(0, keepdim=True).expand_as(seen_BTN))", "batch"
    ),
    "temperature is cut off": (
        "self.log_temperature_H1.exp()", "self.log_temperature_H1.detach().exp()", "gradient"
    ),
    "weights are drawn": ("return y_BTD,", "return y_BTD + torch.randn_like(y_BTD),", "repeatable"),
}  # fmt: skip


@pytest.mark.parametrize("cheat", sorted(CHEATS))
def test_the_checks_catch_a_broken_line(cheat):
    line, broken, check = CHEATS[cheat]
    source = render(DESIGNS["content_sharp_router"])
    assert line in source
    mixer = build(source.replace(line, broken))
    caught_by = {
        "hand_over": lambda: check_hand_over(mixer, [20]),
        "causal": lambda: check_causal(mixer),
        "batch": lambda: check_batch_rows_are_strangers(mixer),
        "gradient": lambda: check_gradients(mixer),
        "repeatable": lambda: check_repeatable(mixer),
    }
    with pytest.raises(AssertionError):
        caught_by[check]()


@cache
def sample():
    """A few hundred sources, designs first."""
    drawn = (random_genome(random.Random(seed)) for seed in range(200))
    return [render(genome, "A title.", "Why it is so. " * 20) for genome in (*DESIGNS.values(), *drawn)]


def test_sources_are_formatted_and_hold_nothing_unused(tmp_path):
    for number, source in enumerate(sample()):
        (tmp_path / f"candidate_{number}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff"]
    formatted = subprocess.run(
        [*ruff, "format", "--check", "--isolated", "--line-length", "110", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert formatted.returncode == 0, formatted.stdout[-2000:]
    rules = "E,F,W,B,UP,SIM,D1"
    linted = subprocess.run(
        [*ruff, "check", "--isolated", "--line-length", "110", "--select", rules, "--ignore", "D107", "."],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert linted.returncode == 0, linted.stdout[-2000:]


def test_every_name_in_a_legend_is_used_and_every_constant_too():
    for source in sample():
        body = source.split('"""', 2)[2]
        constants = [line.split(" = ")[0] for line in body.splitlines() if " = " in line and line[0].isupper()]
        assert all(body.count(name) > 1 for name in constants), constants
        attributes = {line.split(" = ")[0].strip() for line in body.splitlines() if line.startswith("        self.")}
        assert all(body.count(name) > 1 for name in attributes), attributes


def test_rendering_imports_no_torch():
    code = (
        "import sys; from asiarc.researcher.designs import DESIGNS;"
        "from asiarc.researcher.render import render;"
        "import asiarc.researcher.grammar; render(DESIGNS['kda']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
