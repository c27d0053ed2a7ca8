"""The rule on made times: against an independent computation, at its margins, and on times that are none."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from asiarc.speed.paired import LEVEL, LOOKS, Ratio, confirmed, median_interval, paired_ratio, timed
from tests.rigs.kernels.selftest import Count, shortfalls, simulate, simulated


@given(st.integers(6, 140), st.sampled_from((0.9, 0.95, 0.99, 2 * LEVEL - 1)))
def test_the_interval_of_the_median_has_its_coverage(n, level):
    """Bounds are order statistics k and n+1-k; Binomial(n, 1/2) says how often they miss."""
    values = list(range(n))
    random.Random(n).shuffle(values)
    middle, low, high = median_interval(values, level)
    assert middle == (n - 1) / 2 and low + high == n - 1
    k = low  # values strictly below the lower bound
    missed = 2 * binom.cdf(k, n, 0.5)
    assert missed <= 1 - level or k == 0
    assert k + 1 > (n - 1) // 2 or 2 * binom.cdf(k + 1, n, 0.5) > 1 - level, "the interval could be narrower"


def constant(seconds):
    return lambda: seconds


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "ok"), (0.5, "ok"), (1.019, "ok"), (1.021, "slower"), (1.05, "slower"), (3, "slower")]
)
def test_without_noise_the_margin_is_sharp(factor, verdict):
    found = paired_ratio(constant(0.01), constant(0.01 * factor))
    assert (found.verdict, found.pairs) == (verdict, LOOKS[0])
    assert found.ratio == pytest.approx(factor)


def test_too_much_noise_is_not_measured_rather_than_ok():
    rng = random.Random(1)
    found = paired_ratio(constant(0.01), lambda: 0.01 * math.exp(rng.gauss(0.035, 0.4)))
    assert found.verdict == "not measured" and found.pairs == LOOKS[-1] and "noisy" in found.reason


@pytest.mark.parametrize("bad", [math.nan, 0.0, -0.01, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_time_that_is_no_time_gives_no_ratio(bad, side):
    slices = [constant(0.01), constant(0.01)]
    slices[side] = constant(bad)
    found = paired_ratio(*slices)
    assert found.verdict == "not measured" and math.isnan(found.ratio)
    assert found.as_dict()["ratio"] is None and "not measured" in str(found)


def test_order_swaps_from_pair_to_pair():
    calls = []

    def side(name):
        def once():
            calls.append(name)
            return 0.01

        return once

    paired_ratio(side("a"), side("b"))
    assert "".join(calls) == "abba" * (LOOKS[0] // 2)


def test_drift_hits_both_sides():
    now = 0.01

    def drifting():
        nonlocal now
        now *= 1.01
        return now

    found = paired_ratio(drifting, drifting)
    assert found.verdict == "ok" and found.ratio == pytest.approx(1, abs=0.005)


def test_a_slowdown_needs_a_second_opinion():
    slow, fine = Ratio.of([math.log(1.1)] * 16), Ratio.of([0.0] * 16)
    for answers, verdict, asked in (([fine], "ok", 1), ([slow, fine], "ok", 2), ([slow, slow], "slower", 2)):
        given_ = iter(answers)
        assert confirmed(lambda given_=given_: next(given_), lambda r: r).verdict == verdict
        assert len(list(given_)) == len(answers) - asked


def test_the_work_of_a_slice_is_done_and_timed():
    done = []
    assert timed(lambda: done.append(1))() > 0
    assert len(done) == 3


def test_simulated_rates_meet_the_goal_and_the_rule_by_median_would_not():
    """At least 95 % of 5 % slowdowns, at most 1 % false alarms, from a quiet machine to a shared one."""
    counts, _ = simulate(200)
    assert not shortfalls(counts), shortfalls(counts)
    assert all(c.slower == 0 for c in counts if "no change" in c.what)
    rates = simulated(0.01, 0.05, 200, 3)
    assert rates.median_rule_slower < 0.5 * rates.trials < rates.slower


def test_shortfalls_count_what_was_not_measured_as_missed():
    caught = Count("simulated, 5% slower", 100, 94, 6)
    alarms = Count("real, the same tree twice", 100, 2, 0)
    assert len(shortfalls([caught, alarms])) == 2
    assert not shortfalls([Count("simulated, 5% slower", 100, 95, 5), Count("real, the same tree twice", 100, 1, 0)])
