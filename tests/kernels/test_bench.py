"""The table of speeds: wrong results get no time, peers are who they say, an interruption loses nothing."""

from __future__ import annotations

import dataclasses
import json
import types

import pytest
import torch
from click.testing import CliRunner

from asiarc.core.errors import KernelInputError
from asiarc.kernels.operators import OPERATORS, SEQUENCE, Operator
from asiarc.speed.cases import shipped
from tests.rigs.kernels import bench, peers
from tests.rigs.kernels.bench import GRID, Record, Row, by_token, measure, sizes, summary

SHAPE = "2x64x2x8"


@pytest.mark.parametrize("operator", ["gated_delta_rule", "fir", "gated_rms_norm"])
def test_everyone_who_computes_an_operator_has_a_row(operator):
    rows = {row.implementation: row for row in measure(operator, SHAPE, 2)}
    named = {"ours", "recurrence", "fla naive"} if operator in SEQUENCE else {"ours", "plain torch"}
    assert set(rows) == named | ({"transformers"} if operator in peers.TRANSFORMERS else set())
    for name, row in rows.items():
        assert row.why or (row.error < bench.TOLERANCE and row.both_ms > 0 and row.peak_mib > 0 and row.rounds == 2)
        assert name == "ours" or row.why or row.ratio[1] <= row.ratio[0] <= row.ratio[2]


@pytest.mark.parametrize("what", ["o", "gradient"])
def test_one_wrong_head_of_one_sequence_gets_no_time(what, monkeypatch):
    honest = OPERATORS["gated_delta_rule"].call

    def wrong(**x):
        o, state = honest(**x)
        off = torch.ones_like(o)
        off[1, 40:, 1] = 1.01
        return (o * off if what == "o" else o + (o - o.detach()) * (off - 1)), state

    monkeypatch.setattr(Operator, "call", property(lambda self: wrong))
    rows = {row.implementation: row for row in measure("gated_delta_rule", SHAPE, 1)}
    assert rows["ours"].both_ms is None and "WRONG" in rows["ours"].line()
    assert rows["recurrence"].both_ms is not None and rows["recurrence"].ratio is None
    assert any("wrong, hence not timed: gated_delta_rule 2x64x2x8 ours" in line for line in summary([*rows.values()]))


@pytest.mark.parametrize("operator", SEQUENCE)
def test_the_recurrence_in_segments_is_the_recurrence(operator):
    case = shipped(operator, 1, 200, 2, 3, dtype="float64")
    x = {name: t for name, t in case.inputs().items() if name != "initial_state"}
    whole = OPERATORS[operator].call(**x, backend="reference")[0]
    torch.testing.assert_close(by_token(operator)(**x), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_token(operator, checkpointed=True)(**x), whole, rtol=1e-12, atol=1e-12)


def test_a_call_that_goes_elsewhere_is_no_call_of_transformers():
    q = torch.randn(1, 8, 1, 4)
    peers.require_torch(lambda: peers.TRANSFORMERS["l2_norm"](q))
    with pytest.raises(AssertionError, match="no code of transformers ran"):
        peers.require_torch(lambda: peers.PLAIN["l2_norm"](q))
    elsewhere = types.FunctionType(compile("1", "fast", "eval"), {"__name__": "fla.ops.fast"})
    with pytest.raises(AssertionError, match=r"went to fla\.ops\.fast"):
        peers.require_torch(lambda: (elsewhere(), peers.TRANSFORMERS["l2_norm"](q)))


def test_a_decorated_function_without_its_torch_body_is_refused(monkeypatch):
    import transformers.models.qwen3_next.modeling_qwen3_next as module

    monkeypatch.setattr(module, "l2norm", lambda x: x)
    with pytest.raises(AssertionError, match="not the torch body"):
        peers.TRANSFORMERS["l2_norm"](torch.ones(2))


def made(by, ratio=None, shape="1x64x1x16", operator="gated_delta_rule", peak=1.0):
    row = Row(operator, shape, by, 1e-6, 1.0, 3.0, peak, 9, ratio, ratio)
    return dataclasses.replace(row, limit=0.25, product_gflops=90.0) if by == "ours" else row


def test_the_summary_says_goal_by_goal_what_is_met_and_where_not():
    rows = [
        made("ours"), made("transformers", (4.0, 3.9, 4.1), peak=4.0),
        made("ours", shape="1x64x1x32"), made("transformers", (2.0, 1.9, 2.1), "1x64x1x32", peak=1.5),
        made("ours", operator="gla"), made("fla naive", (0.8, 0.7, 0.9), operator="gla"),
        made("recurrence", (0.9, 0.8, 1.1), operator="gla"),
    ]  # fmt: skip
    text = "\n".join(summary(rows))
    assert "D 16-32: >= 3 times as fast as transformers: met at 1 of 2 shapes; not at 1x64x1x32 (2.00 [" in text
    assert "tests.rigs kernels profile): met at 1 of 2 shapes; not at 1x64x1x32 (0.67)" in text
    assert "D 64: >= 2.5 times as fast as transformers: not measured" in text
    assert "forward and backward: 1 of 4 rows (interval below 1), and 1 whose median alone" in text
    assert "  gla 1x64x1x16 fla naive: 0.80 [0.70, 0.90]" in text
    # 3 (4 * 64 * 16 + 8 * 16^2) * 64 operations at 90 GFLOP/s against 3 ms
    assert f"of at most {3e-3 * 90e9 / (3 * (64 * 64 + 8 * 256) * 64):.1f} times" in text.replace("  ", " ")


def test_the_grid_covers_what_it_should():
    B, T, H, D = (set(column) for column in zip(*map(sizes, GRID), strict=True))
    assert {1, 32} <= B and {64, 4096} <= T and {1, 8} <= H and {16, 32, 64, 128} <= D
    with pytest.raises(KernelInputError, match=r"BxTxHxD.*e\.g\. 8x256x4x32"):
        sizes("8x256x4")


def test_a_run_goes_on_where_it_was_cut_off_and_never_mixes_machines(tmp_path, monkeypatch):
    path = tmp_path / "cpu.json"
    command = ["--operator", "l2_norm", "--shape", "1x64x1x16", "--rounds", "1", "--out", str(path)]
    first = CliRunner().invoke(bench.main, command)
    assert first.exit_code == 0 and "plain torch" in first.output, first.output
    kept = path.read_text()
    assert "l2_norm" in path.with_suffix(".txt").read_text()
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("measured again"))
    again = CliRunner().invoke(bench.main, command)
    assert again.exit_code == 0 and "1 groups, 1 of them done" in again.output and path.read_text() == kept
    path.write_text(json.dumps(json.loads(kept) | {"environment": {"torch": "0"}}))
    with pytest.raises(KernelInputError, match=r"torch: 0 -> .*--fresh"):
        Record(path, fresh=False)
    assert Record(path, fresh=True).rows == []


def test_after_its_minutes_it_stops_and_says_what_is_left():
    done = CliRunner().invoke(bench.main, ["--grid", "--minutes", "-1"])
    assert done.exit_code == 0 and f"{len(GRID) * len(OPERATORS)} groups are left out" in done.output
