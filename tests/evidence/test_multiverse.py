"""The m-value: near 1 where any analyst says the same, near 0 where only one path gives the reported word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asiarc.core.errors import EvidenceError
from asiarc.evidence.multiverse import LEAST_PATHS, _flips, _tests, m_value, word_of

SEEDS = [str(seed) for seed in range(5)]


def sides(gain, noise=0.01, seed=0, seeds=SEEDS):
    rng = np.random.default_rng(seed)
    theirs = -2.3 + rng.normal(0, noise, len(seeds))
    mine = theirs + gain + rng.normal(0, noise, len(seeds))
    return dict(zip(seeds, mine.tolist(), strict=True)), dict(zip(seeds, theirs.tolist(), strict=True))


def test_what_every_analysis_says_has_an_m_value_of_one_and_the_opposite_of_zero():
    place = sides(1.0)
    found = m_value("ahead", [place])
    assert found.share == 1.0 and found.paths >= LEAST_PATHS
    assert m_value("behind", [place]).share == 0 == m_value("cannot tell", [place]).share
    assert m_value("behind", [place[::-1]]).share == 1.0


def test_a_word_that_only_the_lucky_subset_gives_has_a_small_one():
    """Four seeds show nothing, one is far ahead: the verdict of a chosen subset is not an analyst's consensus."""
    mine, theirs = sides(0.0, seed=3)
    mine |= {"4": theirs["4"] + 0.5}
    assert m_value("ahead", [(mine, theirs)]).share < 0.1 < 0.8 < m_value("cannot tell", [(mine, theirs)]).share


def test_a_second_place_that_disagrees_is_counted():
    agrees, differs = sides(1.0), sides(-1.0)
    assert m_value("ahead", [agrees, differs]).share == pytest.approx(0.5)


def test_too_few_analyses_are_no_m_value():
    with pytest.raises(EvidenceError, match=f"of at least {LEAST_PATHS}"):
        m_value("ahead", [sides(1.0, seeds=SEEDS[:3])])
    with pytest.raises(EvidenceError, match="0 analyses"):
        m_value("ahead", [])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.floats(-0.05, 0.05), st.permutations(SEEDS), st.integers(1, 9))
def test_shares_add_up_whatever_the_order_and_turn_with_the_sides(seed, gain, order, count):
    mine, theirs = sides(gain, seed=seed)
    shuffled = {one: mine[one] for one in order}, {one: theirs[one] for one in order}
    words = ("ahead", "behind", "cannot tell")
    found = {word: m_value(word, [(mine, theirs)], num_comparisons=count) for word in words}
    assert sum(one.same for one in found.values()) == found["ahead"].paths
    assert found["ahead"] == m_value("ahead", [shuffled], num_comparisons=count)
    assert found["ahead"].same == m_value("behind", [(theirs, mine)], num_comparisons=count).same


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=3, max_size=8))
def test_p_values_are_scipys(pairs):
    mine, theirs = map(list, zip(*pairs, strict=True))
    gain, (paired, welch, flips) = _tests(mine, theirs)
    gains = np.subtract(mine, theirs)
    assert gain == pytest.approx(gains.mean(), abs=1e-9)
    if min(np.std(gains), np.std(mine), np.std(theirs)) > 1e-6:
        assert paired == pytest.approx(stats.ttest_rel(mine, theirs).pvalue, abs=1e-6)
        assert welch == pytest.approx(stats.ttest_ind(mine, theirs, equal_var=False).pvalue, abs=1e-6)
    assert 2.0 ** (1 - len(gains)) <= flips + 1e-12 <= 1 + 1e-9


def test_sign_flips_are_exact_and_become_the_normal_limit():
    assert _flips([1.0] * 6) == 2 / 2**6 and _flips([1.0, -1.0, 1.0]) == 1.0 and _flips([0.0] * 4) == 1.0
    gains = np.random.default_rng(0).normal(0.3, 1, 12).tolist()
    exact = stats.permutation_test((gains,), np.mean, permutation_type="samples", n_resamples=9_999, rng=0).pvalue
    assert _flips(gains) == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.1, 0.2, "ahead"), (-0.2, -0.1, "behind"), (-0.1, 0.1, "cannot tell")]
)
def test_an_interval_says_one_of_three_words(low, high, word):
    assert word_of(low, high) == word
