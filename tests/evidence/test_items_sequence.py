"""Item-level tests and the confidence sequence, against closed forms and stored likelihood ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from asiarc.core.errors import EvidenceError
from asiarc.evidence.items import item_scores, paired_items
from asiarc.evidence.sequence import ConfidenceSequence, confidence_sequence


def logs(rng, sizes, rate):
    return {
        task: dict(enumerate((rng.random(size) < rate).astype(float).tolist()))
        for task, size in sizes.items()
    }


def test_fixed_tasks_agree_with_the_stratified_formula():
    rng = np.random.default_rng(0)
    sizes = {"a": 400, "b": 1_600}
    candidate, baseline = logs(rng, sizes, 0.6), logs(rng, sizes, 0.5)
    found = paired_items(candidate, baseline, resamples=20_000)
    gains = [np.array(list(candidate[t].values())) - np.array(list(baseline[t].values())) for t in sizes]
    mean = np.mean([g.mean() for g in gains])
    error = math.sqrt(sum(g.var() / g.size for g in gains)) / len(gains)
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx(
        (mean - 1.96 * error, mean + 1.96 * error), abs=0.05 * error
    )
    assert found.n == 2_000


def test_sampled_tasks_are_a_t_test_over_task_means():
    rng = np.random.default_rng(1)
    sizes = {name: 50 + 10 * i for i, name in enumerate("abcde")}
    candidate, baseline = logs(rng, sizes, 0.6), logs(rng, sizes, 0.5)
    found = paired_items(candidate, baseline, tasks="sampled")
    means = [np.mean(list(candidate[t].values())) - np.mean(list(baseline[t].values())) for t in sizes]
    assert found.p_value == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert found.n == 5


def test_one_item_repeated_a_thousand_times_fools_only_the_fixed_question():
    candidate = {"huge": dict.fromkeys(range(1_000), 1.0) | {0: 0.0}, "small": {0: 0.0, 1: 1.0}}
    baseline = {"huge": dict.fromkeys(range(1_000), 0.0), "small": {0: 1.0, 1: 0.0}}
    assert paired_items(candidate, baseline, tasks="sampled").low < 0


def test_p_value_is_mcnemars_for_right_or_wrong_items():
    """Of 30 discordant items, 21 favour the candidate: the exact sign test."""
    candidate = {"t": {i: float(i < 21 or i >= 30) for i in range(100)}}
    baseline = {"t": {i: float(i >= 21) for i in range(100)}}
    exact = stats.binomtest(21, 30).pvalue
    assert paired_items(candidate, baseline, resamples=40_000).p_value == pytest.approx(exact, abs=0.005)


def test_same_seed_same_answer_and_direction():
    rng = np.random.default_rng(2)
    candidate, baseline = logs(rng, {"a": 100}, 0.6), logs(rng, {"a": 100}, 0.5)
    assert paired_items(candidate, baseline) == paired_items(candidate, baseline)
    assert (
        paired_items(candidate, baseline, higher_is_better=False).mean
        == -paired_items(candidate, baseline).mean
    )


def test_counts_what_has_no_partner_and_refuses_what_cannot_pair():
    found = paired_items({"a": {0: 1.0, 1: 0.0, 2: 1.0}, "b": {0: 1.0}}, {"a": {0: 0.0, 1: 0.0}})
    assert found.unpaired == 2
    for candidate, baseline in (
        ({"a": {0: 1.0}}, {"b": {0: 1.0}}),
        ({"a": {0: 1.0}}, {"a": {0: 1.0}}),
        ({"a": {0: 1.0, 1: math.nan}}, {"a": {0: 1.0, 1: 1.0}}),
    ):
        with pytest.raises(EvidenceError):
            paired_items(candidate, baseline)


def test_reads_lm_eval_samples():
    samples = {"piqa": [{"doc_id": 0, "acc": 1.0, "acc_norm": 0.0}, {"doc_id": 4, "acc": 0.0, "acc_norm": 1}]}
    assert item_scores(samples, "acc_norm") == {"piqa": {0: 0.0, 4: 1.0}}
    with pytest.raises(EvidenceError, match="Did you mean 'acc_norm'"):
        item_scores(samples, "acc_norn")
    with pytest.raises(EvidenceError, match="twice"):
        item_scores({"piqa": [*samples["piqa"], samples["piqa"][0]]}, "acc")
    with pytest.raises(EvidenceError, match="not one number"):
        item_scores({"text": [{"doc_id": 0, "bits": (1.0, 2)}]}, "bits")


def bayes_factor(t, n, g):
    """The t-test Bayes factor by its definition: the noncentral t density averaged over the prior on the
    effect."""
    inner, _ = integrate.quad(
        lambda d: stats.nct.pdf(t, n - 1, d * math.sqrt(n)) * stats.norm.pdf(d, 0, math.sqrt(g)), -8, 8
    )
    return inner / stats.t.pdf(t, n - 1)


@pytest.mark.parametrize(("n", "effect"), [(6, 1.0), (12, 1.0), (4, 3.0), (30, 0.5)])
def test_sequence_ends_where_the_bayes_factor_reaches_one_over_alpha(n, effect):
    rng = np.random.default_rng(n)
    sequence = ConfidenceSequence(level=0.9, expected_effect=effect)
    for value in rng.normal(0, 1, n):
        found = sequence.update(float(value))
    t_at_end = (found.high - found.mean) / (found.sd / math.sqrt(n))
    assert bayes_factor(t_at_end, n, effect**2) == pytest.approx(10, rel=1e-4)


@given(st.lists(st.floats(-5, 5), min_size=8, max_size=30), st.floats(0.1, 100), st.floats(-10, 10))
def test_sequence_moves_with_shift_and_scale(values, scale, shift):
    *_, plain = confidence_sequence(values)
    *_, moved = confidence_sequence([scale * value + shift for value in values])
    if plain.sd > 1e-3:
        assert moved.low == pytest.approx(scale * plain.low + shift, rel=1e-6, abs=1e-6)
        assert moved.high == pytest.approx(scale * plain.high + shift, rel=1e-6, abs=1e-6)


def test_sequence_is_unbounded_until_it_can_say_something():
    sequence = ConfidenceSequence()
    with pytest.raises(EvidenceError):
        _ = sequence.interval
    assert not sequence.decided
    assert sequence.update(1.0).high == math.inf
    assert sequence.update(1.0).high == math.inf
    for _ in range(20):
        sequence.update(1.0)
    assert not sequence.decided, "equal differences show no spread"
    with pytest.raises(EvidenceError):
        sequence.update(math.nan)
    with pytest.raises(EvidenceError):
        ConfidenceSequence(expected_effect=0)


def test_sequence_is_wider_than_the_t_interval_that_it_allows_to_be_peeked_at():
    values = np.random.default_rng(5).normal(1, 1, 40).tolist()
    for n, interval in enumerate(confidence_sequence(values), start=1):
        if n > 1:
            t = stats.ttest_1samp(values[:n], 0).confidence_interval()
            assert interval.low < t.low
            assert interval.high > t.high


def test_sequence_decides_a_clear_effect():
    sequence = ConfidenceSequence()
    for value in np.random.default_rng(6).normal(3, 1, 12):
        sequence.update(float(value))
    assert sequence.decided
