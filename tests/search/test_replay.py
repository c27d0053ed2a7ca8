"""The bench: cheats must show, worlds must be what they say, and its intervals cover."""

from __future__ import annotations

import re
from functools import partial
from math import log
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from asiarc.campaign.declaration import POLICIES as DECLARABLE
from asiarc.campaign.declaration import Campaign
from asiarc.evidence.shares import wilson
from asiarc.search.policies import POLICIES
from asiarc.search.policies.bayes import UpperBound
from asiarc.search.policies.controls import BestOfN
from asiarc.search.protocol import Recommendation
from tests.rigs.policies.replay import Found, Records, Replayed, Row, Simulated, bench, measure, search
from tests.rigs.policies.table import Entry, Table

from .worlds import Plain, generator

SEARCHES = 100


def table(size=12, seeds=4, spread=0.1, noise=0.05, common=0.0):
    """A recorded table of known make: worth + seed effect + residual, in bits."""
    rng = generator(size)
    steps = (16, 32, 64, 128)
    worth = np.append(0.0, rng.normal(0, spread, size))
    shown = 3.0 - worth[:, None, None] + rng.normal(0, noise, (size + 1, 4, seeds)) + rng.normal(0, common, (4, seeds))
    memories = ("delta", "ssd", "gla")
    entries = tuple(
        Entry(
            f"a{i}",
            f"n{i}",
            "",
            {"memory": memories[i % 3], "rotary": i % 2 == 0},
            1000,
            64 * (1 + i % 2),
            9.0,
            1.0,
            row.tolist(),
        )
        for i, row in enumerate(shown)
    )
    return Table(steps, entries, {}, {})


# --- cheats -----------------------------------------------------------------------------------------------------------


class ReportsTheLuckiestRun(UpperBound):
    """Searches honestly and reports the largest of what its choice showed."""

    def next(self, board, rng):
        if not hasattr(self, "shown"):
            self.shown, self.board_observe = {}, board.observe
            board.observe = self.note
        return super().next(board, rng)

    def note(self, run, gain):
        self.shown[run.candidate] = max(gain, self.shown.get(run.candidate, -np.inf))
        self.board_observe(run, gain)

    def recommend(self, board):
        best = super().recommend(board)[0].candidate
        return [Recommendation(best, self.shown[best])]


class NeverLooksAgain(BestOfN):
    """Trains everybody once and reports the largest number."""

    def __init__(self):
        super().__init__(runs=1)


class NamesTheFirst(UpperBound):
    """Reports the honest number of a candidate that it did not choose."""

    def recommend(self, board):
        return [Recommendation(1, float(board.means()[1]))]


def rows_of(policy, per_candidate=3.5):
    return measure("it", policy, Simulated, per_candidate, SEARCHES)


def test_a_search_that_reports_the_largest_noisy_number_shows_its_bias():
    honest, lucky, single = rows_of(UpperBound), rows_of(ReportsTheLuckiestRun), rows_of(NeverLooksAgain)
    assert abs(honest.bias) < 0.001 + honest.bias_pm
    assert lucky.bias - lucky.bias_pm > 0.01, "the same choices, told with the luckiest run"
    assert single.bias - single.bias_pm > 0.02
    assert single.found_high < honest.found_low


def test_an_honest_number_of_the_wrong_candidate_shows_as_regret():
    row = rows_of(NamesTheFirst)
    assert row.found < 0.1 and row.regret > 0.03 and abs(row.bias) < 0.001 + row.bias_pm


# --- worlds -----------------------------------------------------------------------------------------------------------


def test_single_runs_overstate_by_what_theory_says():
    """E[max of 64 of N(0, 2)] is 2.3745 sqrt(2) spreads, of which half is noise: 1.679 x 0.0175."""
    row = measure("single", partial(BestOfN, runs=1), Simulated, 1.0, 600)
    assert row.bias == pytest.approx(1.679 * 0.0175, abs=2 * row.bias_pm)


def test_the_truth_of_a_replayed_table_is_the_mean_over_its_seeds():
    recorded = table()
    world = Replayed(generator(), Records(recorded))
    for i, entry in enumerate(recorded.entries[1:]):
        gain = (np.mean(recorded.entries[0].bits[3]) - np.mean(entry.bits[3])) * log(2)
        assert world.truth[i] == pytest.approx(gain)


@pytest.mark.parametrize("common", [0.0, 0.2])
def test_replayed_noise_is_as_large_as_recorded_noise_and_as_shared(common):
    records = Records(table(size=40, seeds=5, noise=0.05, common=common))
    draws = []
    for seed in range(300):
        world = Replayed(generator(seed), records)
        draws.append([world.measure(i, 3, 0) - world.truth[i] for i in range(40)])
    shown = np.array(draws)
    assert shown.mean() == pytest.approx(0, abs=0.02 * (1 + 5 * common)), "no systematic error"
    own = (shown - shown.mean(1, keepdims=True)).std()
    assert own == pytest.approx(0.05 * log(2), rel=0.1)
    shared = records.seed_effects[3].std()
    assert shown.mean(1).std() == pytest.approx(shared, rel=0.15, abs=0.01)


def test_one_seed_brings_the_same_effect_to_all_and_the_same_number_twice():
    records = Records(table(noise=1e-9, common=0.5))
    world = Replayed(generator(1), records)
    off = [world.measure(i, 3, 7) - world.truth[i] for i in range(12)]
    assert np.ptp(off) < 1e-6
    assert world.measure(3, 3, 7) == world.measure(3, 3, 7)


def test_proposals_are_near_their_parent_and_never_repeat():
    records = Records(table(size=30))
    world = Replayed(generator(2), records)
    seen = []
    for _ in range(30):
        unseen = [i for i in range(30) if i not in seen]
        item, traits = world.propose(4)
        nearest = sorted(records.distance[5, i + 1] for i in unseen)[:5]
        assert records.distance[5, item + 1] <= nearest[-1] and item not in seen
        assert traits == records.traits[item]
        seen.append(item)


# --- the bench --------------------------------------------------------------------------------------------------------


def test_every_policy_meets_the_same_worlds_and_a_row_is_repeatable():
    seen = []

    def spy(rng):
        seen.append(Simulated(rng).truth)
        return Plain(seen[-1])

    first = measure("a", POLICIES["halving"], spy, 2.0, 5)
    assert measure("a", POLICIES["halving"], spy, 2.0, 5) == first
    assert all((seen[i] == seen[i + 5]).all() for i in range(5)) and (seen[0] != seen[1]).any()


def test_budgets_end_a_search_in_the_middle_of_what_was_wanted():
    found = search(BestOfN(runs=3), Plain([0.1, 0.2]), 4.0, generator())
    assert isinstance(found, Found) and found.spent == 4.0


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (780, 1000)])
def test_the_interval_of_a_share_iswilsons(successes, n):
    low, high = wilson(successes, n)
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_the_bench_prints_every_policy_in_every_world(tmp_path):
    path = tmp_path / "table.json"
    table().write(path)
    lines = list(bench(path, 2))
    for name in (*POLICIES, "paper, no band", "single runs"):
        assert sum(line.startswith(f"{name:16}") for line in lines) == 5
    assert str(Row("x", 0.5, 0.4, 0.6, 0.001, 0.0001, -0.0002, 0.0001, 3.5)).split() == (
        ["x", "50.0%", "[40.0%,", "60.0%]", "1.00", "±", "0.10", "-0.20", "±", "0.10", "3.50"]
    )


def test_what_a_campaign_may_declare_is_on_the_bench():
    assert set(DECLARABLE) == set(POLICIES)


def test_the_default_is_the_policy_that_finds_the_best_most_often_on_the_committed_bench():
    """Of the simulated population, where noise is as large as the spread: the first table of results/search."""
    text = (Path(__file__).parents[2] / "results" / "search" / "policies.txt").read_text()
    rows = re.findall(r"^(\w+) +([\d.]+)% \[", text.split("recorded:")[0], re.MULTILINE)
    assert {name for name, _ in rows} >= set(DECLARABLE)
    assert max(rows, key=lambda row: float(row[1]))[0] == Campaign.model_fields["policy"].default
