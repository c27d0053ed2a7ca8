"""Paired effects against textbook formulas, an independent library, and ways to be fooled."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from asiarc.core.errors import EvidenceError
from asiarc.evidence import Effect, bootstrap_effect, decide, equivalent, mean_interval, no_worse, paired_effect

scores = st.dictionaries(st.integers(0, 50), st.floats(-10, 10), min_size=3, max_size=20)


def effect(low, high, **fields):
    return Effect((low + high) / 2, low, high, n=5, sd=1.0, p_value=0.5, test="paired t", **fields)


def test_agrees_with_scipy_t_test():
    rng = np.random.default_rng(1)
    a, b = rng.normal(2.3, 0.1, 7), rng.normal(2.5, 0.1, 7)
    ours = paired_effect(dict(enumerate(a)), dict(enumerate(b)), higher_is_better=False)
    theirs = stats.ttest_rel(b, a)
    interval = theirs.confidence_interval(0.95)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.mean == pytest.approx((b - a).mean())
    assert (ours.n, ours.unpaired) == (7, 0)


@given(scores, st.data())
def test_direction_and_order_do_not_matter(candidate, data):
    baseline = {seed: data.draw(st.floats(-10, 10)) for seed in candidate}
    up = paired_effect(candidate, baseline, higher_is_better=True)
    down = paired_effect(candidate, baseline, higher_is_better=False)
    swapped = paired_effect(baseline, candidate, higher_is_better=False)
    reordered = paired_effect(dict(reversed(candidate.items())), baseline, higher_is_better=True)
    assert (up.mean, up.low, up.high) == (-down.mean, -down.high, -down.low)
    assert up == swapped == reordered
    assert up.low <= up.mean <= up.high


@given(scores, st.integers(2, 100))
def test_more_comparisons_widen_the_interval_and_leave_the_p_value(candidate, comparisons):
    baseline = {seed: value / 2 + seed % 3 for seed, value in candidate.items()}
    one = paired_effect(candidate, baseline, higher_is_better=True)
    many = paired_effect(candidate, baseline, higher_is_better=True, num_comparisons=comparisons)
    assert many.low <= one.low
    assert one.high <= many.high
    assert many.p_value == one.p_value


def test_interval_leaves_zero_exactly_when_the_corrected_p_does():
    rng = np.random.default_rng(2)
    for _ in range(200):
        gains = dict(enumerate(rng.normal(0.8, 1, 6)))
        found = paired_effect(gains, dict.fromkeys(gains, 0.0), higher_is_better=True, num_comparisons=3)
        assert (found.low > 0 or found.high < 0) == (found.p_value < 0.05 / 3)


def test_pairs_by_seed_not_by_position():
    candidate = {0: 1.0, 1: 2.0, 2: 4.0}
    baseline = {2: 3.0, 0: 1.0, 1: 1.5, 7: 100.0}
    found = paired_effect(candidate, baseline, higher_is_better=True)
    assert found.mean == pytest.approx(0.5)
    assert found.unpaired == 1
    assert "1 without a partner" in found.explain()


@pytest.mark.parametrize(
    ("candidate", "baseline"),
    [
        ({0: 1.0}, {0: 2.0}),
        ({0: 1.0, 1: 1.0}, {2: 1.0, 3: 1.0}),
        ({0: 1.0, 1: math.nan}, {0: 1.0, 1: 1.0}),
        ({0: 1.0, 1: math.inf}, {0: 1.0, 1: 1.0}),
        ({}, {}),
    ],
)
def test_refuses_what_carries_no_effect(candidate, baseline):
    with pytest.raises(EvidenceError):
        paired_effect(candidate, baseline, higher_is_better=True)


@pytest.mark.parametrize("options", [{"level": 1.0}, {"level": 0.0}, {"num_comparisons": 0}])
def test_refuses_impossible_levels(options):
    with pytest.raises(EvidenceError, match="level"):
        paired_effect({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.5}, higher_is_better=True, **options)


def test_constant_differences_claim_nothing_until_signs_alone_decide():
    """Two seeds with an equal gain have no spread, yet cannot be infinitely certain."""
    two = paired_effect({0: 0.5, 1: 0.75}, {0: 0.25, 1: 0.5}, higher_is_better=True)
    assert (two.low, two.high, two.p_value) == (0.0, 0.25, 0.5)
    assert decide(two, fresh_seeds=True, fresh_items=True) == "cannot tell"
    many = dict.fromkeys(range(6), 0.75)
    six = paired_effect(many, dict.fromkeys(many, 0.5), higher_is_better=True)
    assert decide(six, fresh_seeds=True, fresh_items=True) == "better"
    assert six.p_value == 2 / 2**6
    same = paired_effect(many, many, higher_is_better=True)
    assert (same.low, same.mean, same.high, same.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_bootstrap_agrees_with_t_when_there_are_many_pairs(method):
    rng = np.random.default_rng(3)
    gains = dict(enumerate(rng.normal(0.4, 1, 200)))
    zero = dict.fromkeys(gains, 0.0)
    t = paired_effect(gains, zero, higher_is_better=True)
    boot = bootstrap_effect(gains, zero, higher_is_better=True, method=method, resamples=4_000)
    assert (boot.low, boot.high) == pytest.approx((t.low, t.high), abs=0.02)
    assert boot == bootstrap_effect(gains, zero, higher_is_better=True, method=method, resamples=4_000)


def test_bootstrap_p_is_the_exact_sign_flip_p_for_few_pairs():
    gains = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.5}
    found = bootstrap_effect(gains, dict.fromkeys(gains, 0.0), higher_is_better=True)
    assert found.p_value == pytest.approx(2 / 2**4)


def test_bootstrap_refuses_differences_without_spread():
    with pytest.raises(EvidenceError, match="spread"):
        bootstrap_effect({0: 1.0, 1: 1.0}, {0: 0.0, 1: 0.0}, higher_is_better=True)


def test_mean_interval_agrees_with_scipy():
    values = [2.31, 2.33, 2.30, 2.35]
    found = mean_interval(values, level=0.9)
    low, high = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    with pytest.raises(EvidenceError):
        mean_interval([1.0])
    with pytest.raises(EvidenceError):
        mean_interval([1.0, math.nan])


@given(st.floats(-2, 2), st.floats(0, 2), st.booleans(), st.booleans(), st.floats(0, 2))
def test_better_is_never_said_without_fresh_seeds_and_items(low, width, seeds, items, margin):
    decision = decide(effect(low, low + width), fresh_seeds=seeds, fresh_items=items, margin=margin)
    if decision == "better":
        assert seeds
        assert items
        assert low > 0
    if decision == "no worse":
        assert seeds
        assert items
        assert low > -margin


@pytest.mark.parametrize(
    ("low", "high", "fresh", "margin", "expected"),
    [
        (0.1, 0.3, True, 0.0, "better"),
        (0.1, 0.3, False, 0.0, "cannot tell"),
        (0.0, 0.3, True, 0.0, "cannot tell"),
        (-0.1, 0.3, True, 0.0, "cannot tell"),
        (-0.1, 0.3, True, 0.2, "no worse"),
        (-0.1, 0.3, False, 0.2, "cannot tell"),
        (-0.3, -0.1, True, 0.2, "worse"),
        (-0.3, -0.1, False, 0.0, "worse"),
        (-0.15, -0.05, True, 0.2, "no worse"),
        (0.1, 0.3, True, 0.2, "better"),
    ],
)
def test_decisions(low, high, fresh, margin, expected):
    assert decide(effect(low, high), fresh_seeds=fresh, fresh_items=fresh, margin=margin) == expected


def test_equivalence_needs_the_whole_interval_within_the_margin():
    assert equivalent(effect(-0.1, 0.1), 0.2)
    assert not equivalent(effect(-0.1, 0.3), 0.2)
    assert no_worse(effect(-0.1, 0.3), 0.2)
    assert not no_worse(effect(-0.2, 0.3), 0.2)
    with pytest.raises(EvidenceError, match="margin"):
        equivalent(effect(-0.1, 0.1), 0.0)


def test_effect_is_frozen_readable_and_json():
    found = paired_effect({0: 1.0, 1: 3.0}, {0: 0.5, 1: 1.0}, higher_is_better=True, num_comparisons=4)
    assert json.loads(json.dumps(found.as_dict()))["num_comparisons"] == 4
    assert "widened for 4 comparisons" in found.explain()
    with pytest.raises(AttributeError):
        found.low = 1.0


def test_the_light_half_imports_neither_numpy_nor_scipy_nor_torch():
    """Campaign and claim files are collected with these imports alone."""
    code = (
        "import sys, asiarc, asiarc.evidence\n"
        "from asiarc.evidence import claims, multiplicity, paper, power, transfer\n"
        "print([m for m in ('numpy', 'scipy', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("n", [3, 5, 9])
@pytest.mark.parametrize("mean", [0.0625, 0.5, 0.98, 0.999])
@pytest.mark.parametrize("precision", [20, 1_000])
def test_intervals_of_accuracies_cover_and_stay_where_accuracies_lie(n, mean, precision):
    """Seeds whose ability is drawn from a beta distribution, each asked 128 questions; a t interval covers 3 to 47 % of
    means of 0.999, where nearly all seeds agree."""
    rng, covered = np.random.default_rng(7), 0
    for _ in range(300):
        able = rng.beta(mean * precision, (1 - mean) * precision, n)
        found = mean_interval((rng.binomial(128, able) / 128).tolist(), is_accuracy=True)
        assert 0 <= found.low <= found.mean <= found.high <= 1
        covered += found.low <= mean <= found.high
    assert covered / 300 >= 0.89


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_no_interval_of_accuracies_leaves_0_to_1_or_is_empty(values):
    found = mean_interval(values, is_accuracy=True)
    assert 0 <= found.low <= found.mean <= found.high <= 1 and found.low < found.high


def test_seeds_that_agree_on_everything_are_not_taken_for_certain():
    found = mean_interval([1.0, 1.0, 1.0, 1.0, 1.0], is_accuracy=True)
    assert found.high == 1.0 and 0.95 < found.low < 1.0
