"""Rank correlation against scipy, with the small-sample traps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from asiarc.core.errors import EvidenceError
from asiarc.evidence.transfer import mean_ranks, rank_correlation

lists = (
    st.integers(8, 30)
    .flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 9).map(float), min_size=n, max_size=n)] * 2))
    .filter(lambda pair: all(len(set(side)) > 1 for side in pair))
)


@given(lists)
def test_agrees_with_scipy_ties_included(pair):
    x, y = pair
    ours, theirs = rank_correlation(x, y), stats.spearmanr(x, y)
    assert ours.rho == pytest.approx(theirs.statistic, abs=1e-12)
    if abs(ours.rho) < 1 - 1e-9:
        assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    assert ours.low <= ours.rho <= ours.high
    assert ours.low >= -1
    assert ours.high <= 1
    assert mean_ranks(x) == stats.rankdata(x).tolist()


@given(lists)
def test_any_rising_transform_of_a_score_changes_nothing(pair):
    x, y = pair
    assert rank_correlation(x, y) == rank_correlation([math.exp(a) for a in x], y)
    assert rank_correlation(x, y).rho == pytest.approx(-rank_correlation(x, [-b for b in y]).rho)


@pytest.mark.parametrize("n", [4, 5])
def test_a_perfect_order_of_four_or_five_is_no_proof(n):
    found = rank_correlation(range(n), range(n))
    assert found.rho == 1
    assert not found.transfers
    assert found.p_value == pytest.approx(2 / math.factorial(n))
    assert "coin toss" in found.explain()


def test_exact_p_agrees_with_a_permutation_test():
    x, y = [1.0, 2, 3, 4, 5, 6], [2.0, 1, 4, 3, 6, 5]
    exact = stats.permutation_test(
        (x,), lambda a: stats.spearmanr(a, y).statistic, permutation_type="pairings", n_resamples=np.inf
    )
    assert rank_correlation(x, y).p_value == pytest.approx(exact.pvalue)


def test_a_reversed_order_does_not_transfer():
    found = rank_correlation(range(20), range(20, 0, -1))
    assert found.high < 0
    assert not found.transfers
    assert "reversed" in found.explain()
    assert found.as_dict()["transfers"] is False


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 2, 3, 4], [1, 2, 3]),
        ([1, 1, 1, 1], [1, 2, 3, 4]),
        ([1, 2, 3, math.nan], [1, 2, 3, 4]),
    ],
)
def test_refuses_what_has_no_order(x, y):
    with pytest.raises(EvidenceError):
        rank_correlation(x, y)
