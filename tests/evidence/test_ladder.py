"""The Ladder: what is told is true against whoever builds on it, and a true gain is told; the rig says how often."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from asiarc.evidence.ladder import AN_OCTAVE, ERRS, SIZES, STEPS, Ladder, widened_for
from tests.rigs.statistics.looks import ASKED, WAYS, Climbed, share


def by_definition(gain, error, freedom, told):
    """The rule as its page writes it, from the whole history: what is told of the last gain, or None.

    `told` are the looks so far, each the whole steps and the number that were told, or None."""
    comparisons, d, best = 1.0, 1, 0.0
    for one in told:
        if one is None:
            d += 1
        else:
            steps, best = one
            comparisons, d = comparisons * 2 * SIZES * d * (d + 1) * steps * (steps + 1), 1
    comparisons *= 2 * d * (d + 1)
    raw = student.isf(ERRS / comparisons, freedom) * error
    sizes = [2 ** (-k / AN_OCTAVE) for k in range(SIZES)]
    radius = min((size for size in sizes if size >= raw), default=None)
    if radius is None:
        return None
    steps = math.floor(gain / (radius / STEPS))
    number = steps * radius / STEPS
    return (steps, number, number - radius) if number - radius > best else None


@given(st.lists(st.tuples(st.floats(-1, 3), st.floats(1e-4, 0.3)), min_size=1, max_size=12), st.integers(1, 200))
def test_it_is_the_rule_on_its_page(looks, freedom):
    ladder, told = Ladder(), []
    for gain, error in looks:
        due = by_definition(gain, error, freedom, told)
        ladder, found = ladder.look(gain, error, freedom)
        assert (found is None) == (due is None)
        told.append(due and due[:2])
        if found and due:
            assert (found.steps, found.gain, found.low) == pytest.approx(due)
            assert found.low <= gain <= found.high, "the number is of the gain"


def test_the_shares_of_all_looks_add_up_to_one():
    """Of a history without a number; and of what may be told: the geometric share of each depth, the steps."""
    assert sum(1 / widened_for(n) for n in range(1, 100_000)) == pytest.approx(1, abs=1e-4)
    ladder, total = Ladder(), 0.0
    for _ in range(10_000):
        total += 1 / ladder.comparisons
        ladder = ladder.stays()
    assert total == pytest.approx(0.5, abs=1e-3)
    after = [Ladder().climbs(0.1, steps).comparisons for steps in range(1, 2_000)]
    assert 0.2 < sum(SIZES / one for one in after) * Ladder().comparisons * 4 <= 1.0 + 1e-9


def test_who_does_not_lead_is_told_nothing_and_the_leader_must_be_passed():
    ladder, first = Ladder().look(0.5, 0.01, 100)
    assert first is not None and 0.4 < first.low < 0.5 < first.high
    for gain in (0.5, 0.52, 0.0, -3.0, math.nan, math.inf):
        ladder, told = ladder.look(gain, 0.01, 100)
        assert told is None
    ladder, second = ladder.look(0.9, 0.01, 100)
    assert second is not None and second.low > first.gain


def test_where_nothing_shows_the_noise_nothing_is_told():
    """One degree of freedom, a large error, and so many numbers told that no share is left."""
    assert Ladder().look(0.5, 0.05, 1)[1] is None
    assert Ladder().look(5.0, 2.0, 100)[1] is None
    assert Ladder(paths=math.inf).look(0.9, 1e-6, 100)[1] is None


def test_small_differences_in_what_is_measured_are_not_told():
    """An answer is one of few: the noise of the gain and of the error do not show in it."""
    rng = np.random.default_rng(0)
    answers = {Ladder().look(0.504 + 1e-4 * rng.standard_normal(), 0.0102 + 1e-5 * rng.random(), 100)[1]
               for _ in range(50)}  # fmt: skip
    assert len(answers) == 1


@pytest.mark.parametrize("adversary", ["builds", "borders", "draws"])
def test_a_thousand_looks_at_noise(adversary):
    """Few worlds: the rig has more. The way that the ladder replaced falls to whoever builds."""
    assert share("Ladder", adversary, 4) == 0
    if adversary == "builds":
        assert share("for all looks", adversary, 2) == 1


def test_a_true_gain_is_told_after_a_hundred_looks_at_noise():
    assert share("Ladder", "power_12", 10) == 1


def test_each_way_and_adversary_is_measured():
    assert set(ASKED) == {"builds", "borders", "draws", "power_6", "power_8", "power_12"}
    assert isinstance(WAYS["Ladder"](np.random.default_rng(0)), Climbed)
