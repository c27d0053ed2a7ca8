"""Predictions against what happened, and what the judge's marks are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from asiarc.analyst.calibration import calibration, lines, score, scored_predictions
from asiarc.analyst.marking import WEIGHTS, icc, may_enter_fitness, mean_marks, reliability, reliability_over, weighted
from asiarc.archive.annex import Annex
from asiarc.archive.gains import Gains
from asiarc.archive.store import Archive
from asiarc.core.outcome import SCORED
from asiarc.evidence.shares import wilson


def changes(**tasks):
    """A child's gains over its parent, measured once at one rung."""
    scores = {(task, 60): {("child", "0"): gain, ("parent", "0"): 0.0} for task, gain in tasks.items()}
    return Gains(scores, tuple(tasks)).by_task("child", "parent")


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (
            "text better by 0.1, overwrite worse",
            [("text", "better", "better", 0.1), ("overwrite", "worse", "same", None)],
        ),
        ("text worse by 0.05.", [("text", "worse", "better", 0.05)]),
        ("text same", [("text", "same", "better", None)]),
        ("recall better", []),
        ("nothing", []),
        ("no task moves beyond noise", []),
    ],
)
def test_a_prediction_is_read_and_held_against_what_happened(predicted, expected):
    found = score(predicted, changes(text=0.2, overwrite=0.01))
    assert [(s.task, s.predicted, s.happened, s.size) for s in found] == expected


def test_sizes_are_held_against_the_change():
    (found,) = score("text worse by 0.05", changes(text=-0.1))
    assert found.is_right and found.change == pytest.approx(-0.1) and found.error == pytest.approx(0.05)


def row(number, address, parent, predicted="text better"):
    result = {"number": number, "address": address, "gain": 9.9, "outcome": SCORED}
    proposal = {"address": address, "parents": [parent], "predicted": predicted, "generation": number}
    return proposal, result


def test_a_run_is_scored_against_its_own_parents_where_both_stand():
    """The gains of the rows, on each candidate's own deepest rung, are looked at by nobody."""
    rows = [row(0, "a", "root"), row(1, "b", "a"), row(2, "c", "a"), row(3, "d", "c")]
    rungs = {60: {"root": -3.0, "a": -2.9, "b": -2.95, "c": -2.8}, 125: {"root": -2.0, "a": -1.5, "d": -1.0}}
    scores = {("text", at): {(name, "0"): score for name, score in rung.items()} for at, rung in rungs.items()}
    found = scored_predictions([p for p, _ in rows], [r for _, r in rows], Gains(scores, ("text",)), "root")
    assert [(g, s.happened) for g, s in found] == [(0, "better"), (1, "worse"), (2, "better")]
    parts = calibration(found, blocks=2)
    assert [(p.first, p.last, p.n, p.right) for p in parts] == [(0, 1, 2, 0.5), (2, 2, 1, 1.0)]
    assert "best constant guess" in lines(found)[0]
    assert lines([]) == ["no prediction could be scored"]


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(hits_n):
    hits, n = hits_n
    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((interval.low, interval.high), abs=1e-4)


# --- the judge --------------------------------------------------------------------------------------------------------


def test_weights_are_the_rubrics():
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert weighted({"performance": 5, "innovation": 6, "complexity": 9}) == pytest.approx(
        7.05
    )  # DeltaNet's, as released


def test_agreement_is_the_share_of_variance_between_candidates():
    rng = np.random.default_rng(0)
    between, within = 2.0, 1.0
    marks = rng.normal(0, between, (4000, 1)) + rng.normal(0, within, (4000, 3))
    assert icc(marks.tolist()) == pytest.approx(between**2 / (between**2 + within**2), abs=0.02)
    assert icc(rng.normal(0, 1, (4000, 3)).tolist()) == pytest.approx(0, abs=0.03)
    assert icc([[3.0, 3.0], [5.0, 5.0]]) == 1.0
    assert icc([[1.0, 2.0]]) is None and icc([[1.0], [2.0]]) is None and icc([[1.0, 1.0], [1.0, 1.0]]) is None


def judged(number, *performances):
    return [
        {"number": number, "sample": s, "marks": {"performance": p, "innovation": 5, "complexity": 5}}
        for s, p in enumerate(performances)
    ]


def test_the_judge_is_held_against_held_out_gains():
    rows = [r for number, p in enumerate((2, 4, 6, 8, 9)) for r in judged(number, p, p)]
    with_it = reliability(rows, {n: 0.1 * n for n in range(5)})
    against = reliability(rows, {n: -0.1 * n for n in range(5)})
    assert with_it.held_out.rho == pytest.approx(1) and against.held_out.rho == pytest.approx(-1)
    few = reliability(rows, {0: 0.1, 1: 0.2})
    assert few.held_out is None and "too few" in few.line() and few.agreement == 1.0
    alike = reliability(rows, dict.fromkeys(range(5), 0.1))
    assert alike.held_out is None and not alike.is_shown
    assert mean_marks(judged(3, 2, 4)) == {3: pytest.approx(0.3 * 3 + 0.25 * 5 + 0.45 * 5)}


def test_marks_enter_fitness_only_where_they_are_shown_to_predict_or_in_the_papers_own():
    """In 1,000 stores whose judge guesses, it is let in no more often than the interval's level allows."""
    rng = np.random.default_rng(1)
    rows = [r for number in range(12) for r in judged(number, 1 + number % 10)]

    def worth(gains):
        return reliability(rows, dict(enumerate(gains)))

    guessing = [may_enter_fitness("ucb", worth(rng.normal(0, 1, 12).tolist())) for _ in range(1000)]
    assert sum(guessing) <= 45  # one side of 95 %: 25, and three standard errors
    assert may_enter_fitness("ucb", worth([n % 10 for n in range(12)]))
    assert not may_enter_fitness("ucb", worth([-(n % 10) for n in range(12)]))
    assert may_enter_fitness("paper", worth([-(n % 10) for n in range(12)]))
    assert not may_enter_fitness("halving", reliability(rows, {}))


def test_a_judge_is_measured_over_all_runs_of_a_campaign(tmp_path):
    """Three runs of four finalists each: alone they show nothing, together they do."""
    with Archive(tmp_path) as archive:
        for run, numbers in {"a": (0, 1, 2, 3), "b": (0, 2, 5, 7), "c": (1, 2, 3, 4)}.items():
            archive.add_run(run, "question", "quick", 0, {}, {})
            for number in numbers:
                mark = 1 + (3 * number + len(run)) % 10
                address = f"{run}{number}"
                archive.add_candidate(address, address, "", "", None)
                archive.add_result(run, number, address, SCORED, rung=0, gain=0.0, scores={})
                for sample in range(2):
                    marks = {"performance": mark, "innovation": 5, "complexity": 5}
                    Annex(archive).add_judgement(run, number, sample, marks)
            gains = {f"{run}{n}": 0.1 * ((3 * n + len(run)) % 10) for n in numbers}
            archive.finish_stage(run, "verify", {"gains": gains | {f"{run}9": None}})
        alone, together = reliability_over(archive, ["a"]), reliability_over(archive, ["a", "b", "c"])
    assert (alone.compared, together.compared, together.candidates) == (4, 12, 12)
    assert not alone.is_shown and together.is_shown and "it may enter fitness" in together.line()
