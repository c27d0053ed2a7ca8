"""The study of instruments reads what trials give: by hand, from trials whose spread and order are known."""

from __future__ import annotations

import csv
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest

from asiarc.evidence.power import pairs_needed
from asiarc.models.controls import CONTROL_NAMES
from asiarc.tasks import get_task
from asiarc.tasks.catalogue import BASE, CATALOGUE
from tests.rigs import ROOT
from tests.rigs.instruments import (
    APART,
    COLUMNS,
    INSTRUMENTS,
    MIXERS,
    TRAINED,
    WHOLE_OF,
    ahead_of,
    markdown,
    pooled_sd,
    row_of,
    write,
)

UNIGRAM = 4.629582792776234  # entropy of the bytes of the study's documents of prose
NOISE = (0.01, 0.0, -0.01)


def trials(means, seeds=3):
    """Trials of mixers around their means, with a spread of 0.01 over seeds."""
    return {
        mixer: [
            SimpleNamespace(
                seed=f"study/{s}",
                value=mean + NOISE[(s + place) % 3],
                cpu_s=20.0,
                details={"within": {"uninformed": 4.5}},
            )
            for s in range(seeds)
        ]
        for place, (mixer, mean) in enumerate(means.items())
    }


MEANS = {"local_filter": 2.5, "mamba2": 2.2, "delta_net": 2.3, "bag_of_ngrams": 2.45}


def test_the_study_is_large_enough():
    assert len(TRAINED) >= 8
    assert set(WHOLE_OF.values()) <= set(TRAINED)
    assert len(set(INSTRUMENTS)) == len(INSTRUMENTS)
    assert len({*CONTROL_NAMES, *MIXERS}) >= 8


def test_a_row_by_hand():
    row = row_of("text", "micro", trials(MEANS), {})
    assert (row.cpu_s, row.ahead, row.of, row.order) == (20.0, 2, 2, None)
    assert row.sd == pytest.approx(0.01)
    assert row.pairs == pairs_needed(APART, 0.01 * 2**0.5)
    assert row.share == pytest.approx(0.25 / 2.3)
    assert row.valid
    assert row_of("text", "micro", {}, {}) is None


def test_the_order_is_told_against_the_micro_size():
    small = row_of("text", "micro", trials(MEANS), {})
    same = row_of("text", "300k", trials({name: mean - 0.3 for name, mean in MEANS.items()}), small.means)
    turned = row_of("text", "300k", trials({name: 5 - mean for name, mean in MEANS.items()}), small.means)
    assert (same.order, turned.order) == (pytest.approx(1), pytest.approx(-1))


def test_the_whole_is_read_off_the_trials_that_were_scored_on_a_part():
    scored_on_a_part = trials({name: mean - 0.4 for name, mean in MEANS.items()})
    for one in itertools.chain.from_iterable(scored_on_a_part.values()):
        one.details["within"]["whole"] = one.value + 0.4
    part, whole = (row_of(name, "micro", scored_on_a_part, {}) for name in ("text:recurring", "text:long"))
    assert whole.means == pytest.approx(MEANS)
    assert part.means != pytest.approx(MEANS)
    assert whole.share == pytest.approx(0.25 / (UNIGRAM - 2.2))


def test_who_is_read_off_another_draws_the_same_and_scores_all_of_it():
    for whole, part in WHOLE_OF.items():
        tasks = get_task(whole), get_task(part)
        rows, documents = zip(
            *((t.batch("train", 2, "study/0").inputs_BT.tobytes(), t.documents("confirmation", 2, "x")) for t in tasks),
            strict=True,
        )
        assert rows[0] == rows[1]
        assert documents[0] == documents[1]
        assert tasks[0].scored(np.arange(64)) is None is not tasks[1].scored(np.arange(64))


def test_one_seed_has_no_interval_and_says_so():
    row = row_of("text", "1M", trials(MEANS, seeds=1), {})
    assert (row.valid, row.share, row.pairs, row.ahead) == (None, None, None, 0)
    assert "seeds" in row.reason


def test_spread_is_pooled_and_a_missing_control_is_ahead_of_nobody():
    values = {"a": {"0": 0.0, "1": 2.0}, "b": {"0": 0.0, "1": 4.0}, "c": {"0": 1.0}}
    assert pooled_sd(values) == pytest.approx(((2 + 8) / 2) ** 0.5)
    assert ahead_of("local_filter", values, higher_is_better=False) == 0


def test_table_csv_and_json_say_the_same(tmp_path):
    rows = [row_of("text", "micro", trials(MEANS), {})]
    write(tmp_path, rows)
    header, cells = csv.reader((tmp_path / "table.csv").read_text().splitlines())
    assert tuple(header) == COLUMNS
    assert f"| {' | '.join(cells)} |" in (tmp_path / "table.md").read_text() == markdown(rows)
    assert json.loads((tmp_path / "table.json").read_text())[0]["means"] == pytest.approx(MEANS)
    assert "<svg" in (tmp_path / "shares.svg").read_text()


def test_what_the_catalogue_calls_shown_stands_in_the_committed_table():
    for name, listing in CATALOGUE.items():
        for level, shown in listing.validity.shown.items():
            rows = json.loads((ROOT / shown.study / "table.json").read_text())
            instrument = name if level == BASE else f"{name}:{level}"
            found = next(row for row in rows if (row["instrument"], row["size"]) == (instrument, shown.size))
            assert found["valid"] and found["share"] >= listing.validity.share
