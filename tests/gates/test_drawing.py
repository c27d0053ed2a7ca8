"""Cases are drawn from a seed alone, shrunk, and never cost more than they may."""

from __future__ import annotations

import random

import torch
from hypothesis import strategies as st

from asiarc.core.drawing import choice, smallest_failing, whole
from asiarc.engineer.gates.pristine import Pristine

PAIRS = st.tuples(whole(1, 200), whole(0, 50))


def test_the_smallest_failing_case_is_found():
    found = smallest_failing(PAIRS, lambda p: "bad" if p[0] > 33 and p[1] > 4 else None, seed=1, max_examples=50)
    assert found == ((34, 5), "bad")


def test_none_when_all_pass_and_each_case_runs_once():
    seen = []
    assert smallest_failing(PAIRS, seen.append, known=((7, 7),), seed=1, max_examples=12) is None
    assert seen[0] == (7, 7) and len(seen) == len(set(seen)) <= 13


def test_a_known_case_is_kept_when_no_drawn_one_fails():
    assert smallest_failing(PAIRS, lambda p: p if p == (150, 50) else None, known=((150, 50),), seed=1, max_examples=5)


def test_the_seed_alone_decides_and_global_generators_are_left_alone():
    def drawn(seed):
        seen = []
        smallest_failing(PAIRS, seen.append, seed=seed, max_examples=12)
        return seen

    random.seed(5)
    first, state = drawn(3), random.getstate()
    random.seed(5)
    assert random.getstate() == state
    assert drawn(3) == first != drawn(4)


def test_shrinking_is_bounded():
    runs = []

    def violation(pair):
        runs.append(pair)
        return "bad" if sum(pair) % 2 else None

    assert smallest_failing(PAIRS, violation, seed=1, max_examples=12)
    assert len(runs) <= 12 + 41


def test_choices_shrink_to_the_first():
    assert smallest_failing(choice(("a", "b")), lambda c: c, seed=0, max_examples=5) == ("a", "a")


def test_patched_functions_are_named_and_put_back():
    pristine, original = Pristine(), torch.Tensor.__dict__.get("log_softmax")
    softmax = torch.softmax
    torch.softmax = torch.relu
    torch.Tensor.log_softmax = torch.Tensor.relu
    torch.set_default_dtype(torch.float64)
    try:
        altered = pristine.altered()
    finally:
        torch.softmax = softmax
        torch.set_default_dtype(torch.float32)
    assert set(altered) >= {"Tensor.log_softmax", "torch.softmax", "default dtype"}, altered
    assert torch.Tensor.__dict__.get("log_softmax") is original
    assert pristine.altered() == []
