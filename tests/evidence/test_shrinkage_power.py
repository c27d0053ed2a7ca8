"""Shrinkage against its closed form and limits; power against the textbook and against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.errors import EvidenceError
from asiarc.evidence.power import detectable_difference, pairs_needed, power_of
from asiarc.evidence.shrinkage import pooled_standard_errors, shrink


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=30, unique=True), st.floats(0.05, 5))
def test_equal_errors_give_the_closed_form(values, error):
    """With one standard error for all, Paule and Mandel's tau² is max(0, var - se²)."""
    found = shrink(dict(enumerate(values)), dict.fromkeys(range(len(values)), error))
    between = max(0.0, float(np.var(values, ddof=1)) - error**2)
    keep = between / (between + error**2)
    for number, value in enumerate(values):
        expected = np.mean(values) + keep * (value - np.mean(values))
        assert found[number].mean == pytest.approx(expected, abs=1e-6)
        assert found[number].weight == pytest.approx(keep, abs=1e-6)
        assert found[number].low <= found[number].mean <= found[number].high


def test_pure_noise_is_shrunk_to_one_common_value_and_clear_signal_is_kept():
    noise = shrink({"a": 1.0, "b": 1.1, "c": 0.9}, dict.fromkeys("abc", 5.0))
    assert {round(s.mean, 9) for s in noise.values()} == {1.0}
    signal = shrink({"a": 1.0, "b": 11.0, "c": -9.0}, dict.fromkeys("abc", 1e-3))
    assert signal["b"].mean == pytest.approx(11.0, abs=1e-5)


def test_the_noisier_candidate_is_shrunk_more():
    found = shrink({"a": 0.0, "b": 3.0, "c": 3.0, "d": -3.0}, {"a": 1.0, "b": 0.1, "c": 2.0, "d": 1.0})
    assert found["c"].mean < found["b"].mean
    assert found["c"].weight < found["b"].weight


def test_pooled_errors_share_one_noise():
    pooled = pooled_standard_errors({"a": 0.0, "b": 0.2, "c": math.nan}, {"a": 2, "b": 2, "c": 1})
    assert pooled == pytest.approx({"a": 0.1, "b": 0.1, "c": 0.1 * math.sqrt(2)})
    with pytest.raises(EvidenceError):
        pooled_standard_errors({"a": 0.0}, {"a": 1})


@pytest.mark.parametrize(
    ("means", "errors"),
    [
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0}),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 1.0}),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 1.0, "c": 0.0}),
        ({"a": 1.0, "b": 2.0, "c": math.nan}, {"a": 1.0, "b": 1.0, "c": 1.0}),
    ],
)
def test_shrink_refuses_what_it_cannot_weigh(means, errors):
    with pytest.raises(EvidenceError):
        shrink(means, errors)


def test_pairs_needed_matches_cohens_table():
    """Cohen 1988, one-sample t, two-sided 5 %, 80 %: d = 0.5 needs 34, d = 0.8 needs 15, d = 0.2 needs
    199."""
    assert [pairs_needed(d, 1.0) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]


@given(st.floats(0.2, 3), st.floats(0.5, 0.95))
def test_pairs_needed_is_the_first_that_suffices(difference, power):
    pairs = pairs_needed(difference, 1.0, power=power)
    assert power_of(difference, 1.0, pairs) >= power
    assert pairs == 2 or power_of(difference, 1.0, pairs - 1) < power


def test_detectable_difference_inverts_power():
    assert power_of(detectable_difference(0.02, 5), 0.02, 5) == pytest.approx(0.8, abs=1e-6)
    assert detectable_difference(0.02, 5, num_comparisons=40) > detectable_difference(0.02, 5)
    assert power_of(0.0, 1.0, 10) == pytest.approx(0.05, abs=1e-6)


def test_power_refuses_the_impossible():
    for call in (
        lambda: pairs_needed(0.0, 1.0),
        lambda: pairs_needed(1e-6, 1.0),
        lambda: power_of(1.0, 0.0, 5),
        lambda: power_of(1.0, 1.0, 1),
    ):
        with pytest.raises(EvidenceError):
            call()
