"""Rules that are told everything: better than chance, better with more, and never told the truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rigs.policies.ceiling import CANDIDATES, RULES, found_best, lines

SEARCHES = 400


@pytest.mark.parametrize("name", RULES)
def test_a_rule_finds_more_than_single_runs_do_and_less_than_all(name):
    once = found_best(RULES[name], CANDIDATES, SEARCHES)
    assert 0.15 < once / SEARCHES < 0.40  # nothing is left to decide; 26 % over many searches
    assert once < found_best(RULES[name], 3 * CANDIDATES, SEARCHES) < 0.9 * SEARCHES


@pytest.mark.parametrize("name", RULES)
def test_a_rule_prefers_what_is_better_and_as_well_known(name):
    mean, variance = np.array([[0.0, 5.0, 4.9, -3.0]]), np.full((1, 4), 0.1)
    assert RULES[name](mean, variance, np.random.default_rng(0))[0] in (1, 2)


def test_the_lines_name_every_rule_and_repeat():
    told = lines(20)
    assert all(any(name in line for line in told) for name in RULES)
    assert told == lines(20)
