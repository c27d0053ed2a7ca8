"""Power against the textbook and against itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.errors import EvidenceError
from asiarc.evidence.power import detectable_difference, pairs_needed, power_of


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
