"""Two lm-eval sample logs: what is paired, by hand; what must be refused, with the reason."""

from __future__ import annotations

import json
from math import comb, log

import pytest
from scipy.stats import binomtest

from asiarc.core.errors import EvidenceError
from asiarc.evidence.effects import mcnemar, paired_effect
from asiarc.evidence.samples import compare_samples, load_samples

NAME = "samples_arc_easy_2026-01-02T03-04-05.678901.jsonl"


@pytest.fixture
def log_of(tmp_path):
    """A log as lm-eval writes it: one row an item, the metric's name among its keys."""

    def write(folder, values, *, name=NAME, metric="acc", chosen="none", **changes):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        rows = [
            {"doc_id": i, "doc": {}, "target": "a", "filter": chosen, "metrics": [metric], metric: value,
             "doc_hash": f"d{i}", "prompt_hash": f"p{i}", "target_hash": f"t{i}"} | changes
            for i, value in enumerate(values)
        ]  # fmt: skip
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        return path

    return write


def compared(a, b, metric=None):
    return compare_samples(load_samples(a), load_samples(b), metric)


def test_right_and_wrong_are_mcnemars(log_of):
    """Of 40 items A wins 9 and loses 1: by hand, two-sided."""
    a, b = [1.0] * 30 + [0.0] * 10, [1.0] * 21 + [0.0] * 18 + [1.0]
    found = compared(log_of("a", a), log_of("b", b))
    assert (found.task, found.metric, found.filter) == ("arc_easy", "acc", "none")
    assert found.effect.mean == pytest.approx(8 / 40) and found.effect.n == 40
    assert found.effect.p_value == pytest.approx(2 * (1 + 10) / 2**10)
    assert found.effect.test == "McNemar, exact" and found.effect.low > 0


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (5, 5), (9, 1), (600, 700), (3, 1400)])
def test_mcnemar_is_scipys(won, lost):
    reference = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(reference)
    assert mcnemar(won, lost) == mcnemar(lost, won)


def test_few_disagreements_are_no_difference(log_of):
    """Three items won and none lost: p = 1/4, whatever a t interval says."""
    found = compared(log_of("a", [1.0] * 3 + [0.0] * 197), log_of("b", [0.0] * 200))
    assert found.effect.p_value == pytest.approx(2 / 2**3) and found.effect.low <= 0 <= found.effect.high
    assert comb(3, 3) == 1


def test_losses_are_turned_and_likelihoods_become_bits(log_of):
    a, b = [[-10.0, 5], [-9.0, 5], [-8.0, 4]], [[-20.0, 5], [-21.0, 5], [-8.5, 4]]
    found = compared(log_of("a", a, metric="bits_per_byte"), log_of("b", b, metric="bits_per_byte"))
    sides = [{str(i): -ll / size / log(2) for i, (ll, size) in enumerate(rows)} for rows in (a, b)]
    assert found.effect == paired_effect(*sides, higher_is_better=False) and found.effect.mean > 0


def test_a_filter_is_chosen_by_name(log_of):
    for folder, strict, flexible in (("a", [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]), ("b", [0.0, 0.0, 0.0], [1.0, 0.0, 0.0])):
        log_of(folder, strict, metric="exact_match", chosen="strict-match")
        path = log_of(folder, flexible, metric="exact_match", chosen="flexible-extract")
    sides = path.parent.parent / "a" / NAME, path
    assert compared(*sides).filter == "strict-match"
    found = compared(*sides, "exact_match,flexible-extract")
    assert found.filter == "flexible-extract" and found.effect.mean == pytest.approx(2 / 3)
    with pytest.raises(EvidenceError, match=r"unknown metric of both logs 'exact_mach'. Did you mean 'exact_match,"):
        compared(*sides, "exact_mach")


def test_items_of_one_side_alone_are_left_out_and_counted(log_of):
    found = compared(log_of("a", [1.0, 0.0, 1.0, 1.0]), log_of("b", [1.0, 0.0, 0.0]))
    assert (found.effect.n, found.effect.unpaired) == (3, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"doc_hash": "other"}, "the items differ, first at item 0"),
        ({"prompt_hash": "other"}, "the prompts .* differ.*same lm-eval, task and settings"),
        ({"target_hash": "other"}, "the right answers differ"),
        ({"name": "samples_arc_hard_2026-01-02T03-04-05.678901.jsonl"}, "task 'arc_easy', .* of 'arc_hard'"),
        ({"metric": "surprise"}, "no metric of both logs has a direction known here"),
        ({"acc": "yes"}, "acc = 'yes', which is no number of one item"),
    ],
)
def test_what_was_not_asked_alike_is_refused(log_of, changes, reason):
    with pytest.raises(EvidenceError, match=reason):
        compared(log_of("a", [1.0, 0.0]), log_of("b", [1.0, 0.0], **changes))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ('{"doc_id": 1', "1: not JSON"),
        ("[1]\n", "1: not an object"),
        ('{"a": 1}\n', "1: no doc_id"),
        ('{"doc_id": 1, "acc": 1}\n\n{"doc_id": 1, "acc": 0}\n', "3: item 1 stands there twice"),
        ("\xff", "cannot be read"),
    ],
)
def test_what_is_no_log_is_told_at_its_line(tmp_path, text, reason):
    path = tmp_path / NAME
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(EvidenceError, match=reason):
        load_samples(path)


def test_nothing_in_common(log_of):
    with pytest.raises(EvidenceError, match="have 1 items in common"):
        compared(log_of("a", [1.0]), log_of("b", [1.0, 0.0]))
    with pytest.raises(EvidenceError, match="cannot be read"):
        load_samples(log_of("a", [1.0]).with_name("samples_none.jsonl"))
