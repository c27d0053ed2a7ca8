"""Corrections against the closed testing principle and scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from asiarc.core.errors import EvidenceError
from asiarc.evidence.multiplicity import benjamini_hochberg

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6).map(lambda ps: dict(enumerate(ps)))


@given(p_values)
def test_benjamini_hochberg_agrees_with_scipy(ps):
    assert list(benjamini_hochberg(ps).values()) == pytest.approx(false_discovery_control(list(ps.values())))


@given(p_values)
def test_never_below_the_raw_p(ps):
    adjusted = benjamini_hochberg(ps)
    assert all(ps[name] <= adjusted[name] + 1e-15 for name in ps)


def test_leaving_out_the_losers_changes_the_answer():
    """The mistake that the docstring warns of: correcting only for what is shown."""
    stage = {"winner": 0.01, **{f"loser{i}": 0.9 for i in range(9)}}
    assert benjamini_hochberg(stage)["winner"] == pytest.approx(0.1)
    assert benjamini_hochberg({"winner": 0.01})["winner"] == 0.01


@pytest.mark.parametrize("bad", [{}, {"a": -0.1}, {"a": 1.1}, {"a": math.nan}])
def test_refuses_what_is_no_p_value(bad):
    with pytest.raises(EvidenceError):
        benjamini_hochberg(bad)
