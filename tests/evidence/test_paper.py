"""The typed tables: shape, the numbers that anyone can check against the paper, and the fitness by its
definition."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.errors import EvidenceError
from asiarc.evidence.paper import TASK_ITEMS, binomial_error, find_paper, fitness, load_paper

PAPER = find_paper()
REPRODUCTIONS = Path(__file__).parents[2] / "reproductions"


def test_tables_have_the_papers_shape():
    assert [len(t) for t in (PAPER.table1, PAPER.table2, PAPER.table3, PAPER.figure1, PAPER.figure8)] == [
        8,
        101,
        3,
        36,
        5,
    ]
    assert len(set(PAPER.gallery_index)) == 106
    assert set(PAPER.table2_baselines) == {"DeltaNet", "Gated DeltaNet"}
    assert sum(row.discovered for row in PAPER.table1) == sum(row.discovered for row in PAPER.followup) == 5
    assert len(PAPER.printed["delta_net_seed"]["benchmark"]) == PAPER.printed["stage1"]["tasks"] + 1


def test_known_cells():
    by_name = {row.model: row for row in PAPER.table1}
    assert by_name["Mamba2"].wikitext_ppl == 27.08
    assert by_name["PathGateFusionNet"].accuracy["boolq"] == 60.58
    assert by_name["DeltaNet"].mean_without() == pytest.approx(46.535)
    assert PAPER.table2_baselines["Gated DeltaNet"].loss_340m == 3.4768
    assert PAPER.figure1[-1] == (7_000, 106)
    assert [a <= b for (_, a), (_, b) in zip(PAPER.figure1, PAPER.figure1[1:], strict=False)].count(False) == 0
    assert all(sum(row.shares) == pytest.approx(1, abs=0.03) for row in PAPER.figure8)


def test_follow_up_averages_are_the_means_of_their_columns():
    assert all(row.mean_without() == pytest.approx(row.average, abs=0.0101) for row in PAPER.followup)


def test_second_stage_means_are_table_2s():
    stage = PAPER.printed["stage2"]
    for name in ("gated_delta_net", "delta_net"):
        printed = PAPER.table2_baselines[name.replace("_", " ").title().replace("Net", "Net").replace(" Net", "Net")]
        assert 100 * sum(stage[name]) / 7 == pytest.approx(printed.score_340m, abs=0.006)


def test_binomial_error_by_hand():
    assert binomial_error({"piqa": 0.5, "boolq": 0.2}, TASK_ITEMS) == pytest.approx(
        math.sqrt(0.25 / 1_838 + 0.16 / 3_270) / 2
    )


def test_fitness_at_its_landmarks():
    assert fitness(4.575, 0.224, 1.0) == pytest.approx(1.0)
    assert fitness(0.0, 1.0, 10.0) == pytest.approx(2 / (1 + math.exp(-6)) + 1)
    assert fitness(99.0, 0.0, 1.0) == pytest.approx(2 / (1 + math.exp(6)))


@given(st.floats(0, 12), st.floats(0, 1), st.floats(1, 10))
def test_fitness_is_monotone_and_bounded(loss, benchmark, judge):
    found = fitness(loss, benchmark, judge)
    assert 0 < found < 3
    assert fitness(loss + 0.1, benchmark, judge) <= found <= fitness(loss, benchmark + 0.01, judge)
    assert fitness(loss, benchmark, judge - 1) == pytest.approx(found - 1 / 9)


@pytest.mark.parametrize("name", ["table1.csv", "table2.csv", "figure8.csv", "printed.toml"])
def test_missing_and_spoilt_files_are_clear_errors(tmp_path, name):

    shutil.copytree(REPRODUCTIONS / "data", tmp_path / "data")
    load_paper(tmp_path)
    (tmp_path / "data" / name).write_text("model,x\nDeltaNet\n")
    with pytest.raises(EvidenceError, match=name):
        load_paper(tmp_path)
    (tmp_path / "data" / name).unlink()
    with pytest.raises(EvidenceError, match=name):
        load_paper(tmp_path)
