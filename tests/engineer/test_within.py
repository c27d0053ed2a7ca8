"""Where a text's bits were lost: sums of what was streamed, against the sums that lm-eval makes of the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.engineer.returned import WithinShape
from asiarc.engineer.scoring import score_plainly
from asiarc.engineer.within import Streamed, bins, entropy, of_part, summed
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.tasks import get_task

from .here import streamed

windows = st.lists(
    st.lists(st.tuples(st.integers(1, 3), st.floats(-9, 0)), min_size=1, max_size=60), min_size=1, max_size=4
).map(
    lambda some: [
        Streamed(place // 2, np.array([t for t, _ in one]), np.array([p for _, p in one]))
        for place, one in enumerate(some)
    ]
)


@settings(deadline=None, max_examples=30)
@given(windows)
def test_each_way_of_cutting_has_every_token_once(some):
    found = summed(some, of_bytes=True)
    WithinShape.model_validate(found | {"whole": 1.0})
    bits = -sum(float(w.log_p_T.sum()) for w in some) / math.log(2)
    for parts in ([row[1:] for row in found["positions"]], list(found["novelty"].values())):
        assert sum(count for count, _ in parts) == sum(len(w.tokens_T) for w in some)
        assert sum(part for _, part in parts) == pytest.approx(bits)


def test_only_what_counts_is_summed():
    some = [Streamed(0, np.array([1, 2, 1, 2]), np.log([0.5, 0.25, 0.125, 1.0]))]
    found = summed(some, of_bytes=True, counted=lambda tokens_T: tokens_T == 1)
    assert found["positions"] == [[0, 2, pytest.approx(4.0)]]
    assert found["novelty"]["new"] == [2, pytest.approx(4.0)]
    assert found["uninformed"] == 0


def test_bins_double():
    assert bins(40).tolist() == [0] * 8 + [8] * 8 + [16] * 16 + [32] * 8


def test_entropy_by_hand():
    assert entropy(np.array([1, 1, 2, 3])) == pytest.approx(1.5)
    assert entropy(np.array([7, 7])) == 0


def test_a_part_is_scored_by_what_is_due_in_it():
    log_p = np.log([0.5, 0.25, 0.125, 1.0])
    some = [Streamed(0, np.array([1, 2, 1, 2]), log_p), Streamed(3, np.array([2, 2]), log_p[:2])]
    value, items, uninformed = of_part(some, lambda tokens_T: tokens_T == 1)
    assert value == pytest.approx(2.0)  # 1 and 3 bits
    assert items == [{"document": 0, "value": [pytest.approx(math.log(0.5 * 0.125)), 2.0]}]
    assert uninformed == 0


def test_what_was_streamed_sums_to_what_was_scored(tiny):
    model = build(baseline_source("delta_net"), tiny, "seed", hidden=8)
    documents = get_task("text").documents("validation", 3, "here")
    with streamed(model, tiny.seq_len) as lm:
        scored = score_plainly(lm, get_task("text"), documents)
    assert len(lm.streamed) >= len(documents)
    for place, item in enumerate(scored.items):
        mine = [w for w in lm.streamed if w.document == place]
        assert sum(float(w.log_p_T.sum()) for w in mine) == pytest.approx(item["value"][0])
        assert sum(len(w.tokens_T) for w in mine) == item["value"][1]
        assert bytes(np.concatenate([w.tokens_T for w in mine]).tolist()).decode() == documents[place]["text"]
    value, items, _ = of_part(lm.streamed, lambda tokens_T: np.ones(len(tokens_T), dtype=bool))
    assert value == pytest.approx(scored.value)
    assert [item["value"] for item in items] == [pytest.approx(item["value"]) for item in scored.items]
