"""Corrections against the closed testing principle and scipy."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from asiarc.core.errors import EvidenceError
from asiarc.evidence.multiplicity import benjamini_hochberg, holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6).map(lambda ps: dict(enumerate(ps)))


@given(p_values)
def test_holm_is_closed_testing_of_bonferroni(ps):
    """A hypothesis falls when every intersection that holds it falls by Bonferroni: the definition, in
    full."""
    for name, adjusted in holm(ps).items():
        subsets = itertools.chain.from_iterable(
            itertools.combinations(ps, size) for size in range(1, len(ps) + 1)
        )
        worst = max(min(1.0, len(s) * min(ps[member] for member in s)) for s in subsets if name in s)
        assert adjusted == pytest.approx(worst)


@given(p_values)
def test_benjamini_hochberg_agrees_with_scipy(ps):
    assert list(benjamini_hochberg(ps).values()) == pytest.approx(false_discovery_control(list(ps.values())))


@given(p_values)
def test_never_below_the_raw_p_and_holm_never_below_bh(ps):
    strict, loose = holm(ps), benjamini_hochberg(ps)
    assert all(ps[name] <= loose[name] + 1e-15 for name in ps)
    assert all(loose[name] <= strict[name] + 1e-15 for name in ps)


def test_leaving_out_the_losers_changes_the_answer():
    """The mistake that the docstring warns of: correcting only for what is shown."""
    stage = {"winner": 0.01, **{f"loser{i}": 0.9 for i in range(9)}}
    assert holm(stage)["winner"] == pytest.approx(0.1)
    assert holm({"winner": 0.01})["winner"] == 0.01


@pytest.mark.parametrize("bad", [{}, {"a": -0.1}, {"a": 1.1}, {"a": math.nan}])
@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
def test_refuses_what_is_no_p_value(correct, bad):
    with pytest.raises(EvidenceError):
        correct(bad)
