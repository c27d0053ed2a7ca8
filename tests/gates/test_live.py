"""Memory in use against what is held by construction, and the growth criterion against known powers."""

from __future__ import annotations

import gc
import math
import tracemalloc

import pytest
import torch

from asiarc.engineer.gates.complexity import swelling
from asiarc.engineer.gates.live import Live, python_peak

KIB = 1024


def numbers(kib):
    return torch.ones(kib * KIB // 4)


def followed(call):
    with Live() as live:
        kept = call()
    return live.memory.now, live.memory.peak, kept


def test_what_goes_is_no_longer_in_use_and_the_peak_stays():
    def call():
        first = numbers(4)
        second = numbers(2)
        del first
        return second, numbers(1)

    now, peak, kept = followed(call)
    assert (now, peak) == (3 * KIB, 6 * KIB)
    assert len(kept) == 2


def test_a_view_and_a_second_name_are_the_same_memory():
    now, peak, _kept = followed(lambda: [x := numbers(4), x[:3], x.view(2, -1).T, x.add_(1)])
    assert (now, peak) == (4 * KIB, 4 * KIB)


def test_a_view_holds_the_whole_memory():
    now, _, _kept = followed(lambda: numbers(4)[:1])
    assert now == 4 * KIB


def test_what_autograd_keeps_is_in_use_until_the_backward_pass():
    x = numbers(4).requires_grad_(True)
    with Live() as live:
        y = x.exp().tanh().sum()  # both results on the way are needed again
        kept = live.memory.now
        y.backward()
    assert kept >= 8 * KIB
    assert live.memory.now == 4 * KIB + 4  # the gradient, and the sum


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.float16, torch.float64])
def test_a_mask_counts_by_what_it_takes(dtype):
    now, _, _kept = followed(lambda: torch.ones(64, 64, dtype=dtype))
    assert now == 64 * 64 * dtype.itemsize


def test_a_sparse_matrix_counts_its_numbers_and_their_places():
    def call():
        return torch.eye(64).to_sparse()

    now, peak, _kept = followed(call)
    assert now == 64 * (4 + 2 * 8)
    assert peak >= 64 * 64 * 4


def test_the_texts_of_python_are_in_use_and_a_list_of_the_process_before_is_not():
    before = ["x" * 1000 for _ in range(100)]
    assert 50_000 <= python_peak(lambda: "01" * 25_000) <= 60_000
    assert python_peak(lambda: len(before)) < 1000
    assert not tracemalloc.is_tracing()


def test_whoever_traces_or_collects_already_goes_on():
    tracemalloc.start()
    try:
        assert python_peak(lambda: "x" * 50_000) >= 50_000
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert gc.isenabled()


LENGTHS = (37, 74, 148, 296, 592)


GROWTHS = {"constant": lambda t: 60, "linear": lambda t: t, "t_log_t": lambda t: t * math.log2(t)}


@pytest.mark.parametrize("growth", GROWTHS.values(), ids=GROWTHS)
def test_linear_and_all_but_linear_memory_passes(growth):
    assert swelling([10_000 + 50 * growth(t) for t in LENGTHS]) is None


def test_what_was_largest_before_hides_nothing():
    assert swelling([max(80_000, 2000 * t) for t in LENGTHS]) is None
    assert swelling([max(20_000, t**2) for t in LENGTHS]) is not None


@pytest.mark.parametrize("linear", [0, 100, 1000])
def test_a_byte_for_each_pair_is_found_beneath_what_is_linear(linear):
    assert swelling([5000 + linear * t + t**2 for t in LENGTHS]) is not None


def test_the_power_one_and_a_half_is_too_much():
    assert swelling([t**1.5 for t in LENGTHS]) == pytest.approx(2.83, abs=0.01)
