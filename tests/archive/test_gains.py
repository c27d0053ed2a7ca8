"""Gains in explore: at a rung that both stand on, with the seeds' luck taken out, and an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.archive.gains import Gains
from asiarc.evidence.additive import Layout

MIXERS = ("start", "a", "b", "c")
cells = st.dictionaries(
    st.tuples(st.sampled_from(MIXERS), st.sampled_from("012")), st.floats(-4, 4, width=32), min_size=1, max_size=12
)
ladders = st.dictionaries(st.sampled_from([60, 125]), cells, min_size=1)


def all_gains(rungs):
    found = Gains({("text", steps): scores for steps, scores in rungs.items()}, ("text",))
    return {(a, b): found.over(a, b) for a in MIXERS for b in MIXERS}


def solved(scores):
    """The reference: the whole design matrix and its pseudo-inverse."""
    mixers, seeds = sorted({m for m, _ in scores}), sorted({s for _, s in scores})
    x_NP = np.array([[m == key[0] for m in mixers] + [s == key[1] for s in seeds] for key in scores], float)
    y_N = np.array(list(scores.values()))
    inverse_PP = np.linalg.pinv(x_NP.T @ x_NP)
    return mixers, x_NP, y_N, inverse_PP, inverse_PP @ x_NP.T @ y_N


@settings(max_examples=60)
@given(cells)
def test_effects_are_those_of_least_squares(scores):
    mixers, x_NP, y_N, inverse_PP, solution_P = solved(scores)
    found = Layout(scores)
    assert found.squares == pytest.approx(((y_N - x_NP @ solution_P) ** 2).sum(), abs=1e-6)
    assert found.freedom == len(scores) - np.linalg.matrix_rank(x_NP)
    for i, a in enumerate(mixers):
        for j, b in enumerate(mixers):
            contrast_P = np.eye(x_NP.shape[1])[i] - np.eye(x_NP.shape[1])[j]
            mine = found.difference(a, b)
            if np.abs(x_NP.T @ x_NP @ inverse_PP @ contrast_P - contrast_P).max() > 1e-6:
                assert mine is None, "no chain of seeds joins them"
            else:
                assert mine.mean == pytest.approx(contrast_P @ solution_P, abs=1e-6)
                assert mine.leverage == pytest.approx(contrast_P @ inverse_PP @ contrast_P, abs=1e-6)


@settings(max_examples=60)
@given(ladders, st.sampled_from([60, 125]), st.sampled_from(["0", "1", "2", "all"]), st.floats(-3, 3, width=32))
def test_what_is_added_to_a_rung_or_to_a_seed_changes_no_gain(rungs, steps, seed, shift):
    moved = {
        at: {key: score + shift * (at == steps and seed in (key[1], "all")) for key, score in scores.items()}
        for at, scores in rungs.items()
    }
    before, after = all_gains(rungs), all_gains(moved)
    for pair, gain in before.items():
        assert (gain is None) == (after[pair] is None)
        if gain is not None:
            assert after[pair].mean == pytest.approx(gain.mean, abs=1e-5)
            assert (after[pair].steps, after[pair].seeds) == (gain.steps, gain.seeds)


@given(ladders)
def test_gains_are_antisymmetric_and_add_up_at_one_rung(rungs):
    found = all_gains(rungs)
    for (a, b), gain in found.items():
        if gain is not None:
            assert gain.mean == pytest.approx(-found[b, a].mean, abs=1e-6)
            if gain.steps == (125,) == (found["start", b] and found["start", b].steps) and found[a, "start"]:
                assert gain.mean == pytest.approx(found[a, "start"].mean + found["start", b].mean, abs=1e-5)


def by_old_rule(scores, a, b):
    """The mean paired difference over common seeds: what the reference's luck goes into."""
    common = [seed for mixer, seed in scores if mixer == a and (b, seed) in scores]
    return sum(scores[a, seed] - scores[b, seed] for seed in common) / len(common)


def test_the_references_luck_at_a_seed_does_not_go_into_what_was_trained_once():
    """Seed 0 is hard for all (-0.5), and the start alone has 0.3 of luck there; the candidate's true gain is 0."""
    luck, seeds, others = 0.3, "01234567", [f"other {i}" for i in range(7)]
    scores = {(mixer, seed): -0.5 * (seed == "0") for mixer in ("start", *others) for seed in seeds}
    scores["start", "0"] += luck
    scores["candidate", "0"] = -0.5
    assert by_old_rule(scores, "candidate", "start") == pytest.approx(-luck)
    gain = Gains({("text", 60): scores}, ("text",)).over("candidate", "start")
    assert abs(gain.mean) < luck / 3 and gain.direction == "same"
    shared = {key: score + 0.7 * (key[1] == "0") for key, score in scores.items()}
    assert Gains({("text", 60): shared}, ("text",)).over("candidate", "start").mean == pytest.approx(gain.mean)


def test_intervals_cover_as_often_as_they_say():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        truth, luck = rng.normal(0, 0.1, 5), rng.normal(0, 0.2, 3)
        scores = {
            (str(m), str(s)): truth[m] + luck[s] + rng.normal(0, 0.02)
            for m in range(5) for s in range(3) if m < 3 or s == 0
        }  # fmt: skip
        gain = Gains({("text", 60): scores}, ("text",)).over("4", "0")
        covered += abs(gain.mean - (truth[4] - truth[0])) <= gain.radius
    assert covered / 400 == pytest.approx(0.95, abs=0.033)


def test_a_mean_over_tasks_needs_all_of_them():
    text, reset = {("a", "0"): 1.0, ("b", "0"): 0.0}, {("a", "0"): 0.5, ("b", "0"): 0.4, ("c", "0"): 0.1}
    found = Gains({("text", 60): text, ("reset", 45): reset}, ("text", "reset"))
    gain = found.over("a", "b")
    assert gain.mean == pytest.approx(0.55) and gain.unit == "" and gain.where == "at 60 and 45 steps, seed 0"
    assert found.over("a", "c") is None and found.on("reset", "a", "c").mean == pytest.approx(0.4)
    assert found.over("a", "nobody") is None and Gains({}, ("text",)).over("a", "b") is None
