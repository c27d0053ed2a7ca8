"""The rig that asks whether mixers may share a variance says yes where they have one, and no where they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tests.rigs.statistics.pooling import Table, coverage, main, tables


def test_equal_spreads_may_be_pooled_and_win_width():
    for pair in ((0, 1), (4, 2)):
        pooled, paired, share = coverage(np.full(5, 0.02), 6, pair)
        assert pooled == pytest.approx(0.95, abs=0.01) and paired == pytest.approx(0.95, abs=0.01) and share < 0.9


def test_one_mixer_that_varies_ten_times_as_much_is_not_covered_by_a_pooled_variance():
    spreads = np.array([0.01] * 7 + [0.1])
    pooled, paired, _ = coverage(spreads, 6, (7, 0))
    assert pooled < 0.8 < 0.94 < paired
    assert coverage(spreads, 6, (0, 1))[0] > 0.99  # those that vary little pay for it in width


def test_seeds_agree_where_mixers_share_their_luck_and_nowhere_else():
    rng = np.random.default_rng(0)
    luck_N, own_MN = rng.standard_normal(40), rng.standard_normal((6, 40))
    assert Table("", luck_N + 0.1 * own_MN).together > 0.95
    assert abs(Table("", own_MN).together) < 0.15
    assert Table("", own_MN).equal > 0.05 > Table("", own_MN * np.geomspace(1, 10, 6)[:, None]).equal


def test_a_table_has_the_seeds_that_all_have(tmp_path):
    def mixer(*values, first=0):
        return {"tasks": {"text": {"values": {f"study/{first + i}": value for i, value in enumerate(values)}}}}

    mixers = [mixer(1.0, 1.1, 1.3, 1.2), mixer(2.0, 2.2, 2.1), mixer(3.1, 3.0, 3.3, 3.0), mixer(9.0, 9.5)]
    studies = [{"name": "few", "tasks": [{"name": "text"}], "mixers": mixers},
               {"name": "fewer", "tasks": [{"name": "text"}], "mixers": mixers[2:]}]  # fmt: skip
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"studies": studies}))
    (found,) = tables(report)
    assert found.what == "few, text" and found.scores.tolist() == [[1.0, 1.1, 1.3], [2.0, 2.2, 2.1], [3.1, 3.0, 3.3]]
    printed = CliRunner().invoke(main, [str(tmp_path)], catch_exceptions=False)
    assert printed.exit_code == 0 and printed.output.count("pooled covers") == 2
