"""Counted costs against what they are by arithmetic, and the growth criterion against known powers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from asiarc.engineer.gates.complexity import quadratic_growth, tripling
from asiarc.engineer.gates.counting import Counted, count, count_lines
from asiarc.engineer.gates.measure import measure

HONEST = Path(__file__).parent / "honest"
LENGTHS = (128, 256, 512, 1024, 2048)


def test_a_matrix_product_costs_two_operations_a_multiplication():
    counted = count(torch.matmul, torch.randn(3, 5), torch.randn(5, 7))
    moved = (3 * 5 + 5 * 7 + 3 * 7) * 4
    assert counted == (2 * 3 * 5 * 7, 3 * 7 * 4, 3 * 7 * 4, moved, 1, frozenset())


def test_elementwise_operators_count_and_views_do_not():
    x = torch.randn(4, 6)
    assert count(x.exp).flops == 24
    assert count(x.t) == Counted()
    assert count(lambda: x.exp().t().sum()).flops == 48


def test_lines_of_a_candidate_count_and_no_others():
    names = {}
    exec(compile("def f(n):\n    for i in range(n):\n        i + 1\n", "<candidate_x>", "exec"), names)
    short, long = (count_lines(names["f"], n) for n in (10, 20))
    assert long - short == 20
    assert count_lines(sorted, [3, 1, 2]) == 0


def test_a_backward_pass_is_counted():
    w = torch.randn(8, 8, requires_grad=True)
    loss = (torch.randn(4, 8) @ w).sum()
    assert count(loss.backward).flops >= 2 * 4 * 8 * 8


@pytest.mark.parametrize("of", [torch.softmax, torch.log_softmax], ids=["softmax", "log_softmax"])
def test_the_backward_pass_of_a_row_of_shares_is_known_by_its_elements(of):
    x = torch.randn(4, 16, requires_grad=True)
    counted = count(of(x, -1).sum().backward)
    assert not counted.unknown and counted.flops < 4 * 16 * 8


@pytest.mark.parametrize("power", [1.0, 1.5, 1.7])
def test_less_than_quadratic_passes(power):
    assert quadratic_growth([1000 + 50 * t + t**power for t in LENGTHS]) is None


def test_t_log_t_passes():
    assert quadratic_growth([t * math.log2(t) for t in LENGTHS]) is None


@pytest.mark.parametrize("linear", [0, 1e3, 1e5])
def test_a_quadratic_part_is_found_beneath_a_linear_one(linear):
    assert quadratic_growth([linear * t + t**2 for t in LENGTHS]) == pytest.approx(4)


def test_a_kink_is_no_quadratic():
    for start in (130, 300, 600, 1100):
        assert quadratic_growth([100 * t + 500 * max(0, t - start) for t in LENGTHS]) is None


def test_a_largest_tensor_that_lines_overtake_is_no_square():
    assert tripling([1_556_480, 1_556_480, 1_572_864, 3_145_728, 6_291_456]) is None
    assert tripling([t**2 for t in LENGTHS]) == 4


def test_chunks_that_fill_up_are_no_quadratic():
    assert quadratic_growth([100 * t * min(t, 200) for t in LENGTHS]) is None


def test_measures_of_a_mixer_whose_sizes_are_known():
    measures = measure((HONEST / "running_maximum.py").read_text(), 64, 2)
    assert measures.parameters == 3 * (64 * 64 + 64)
    assert measures.state_bytes == 64 * 4
    linear = 3 * 2 * 64 * 64
    assert linear < measures.flops_per_token < 1.2 * linear
