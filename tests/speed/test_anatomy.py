"""The profile finds what is planted, and the training table compares like with like."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch
from click.testing import CliRunner

from asiarc.core.recipe import MICRO
from tests.rigs.kernels import anatomy, training
from tests.rigs.kernels.__main__ import main

TINY = MICRO.at(d_model=16, num_layers=1, num_heads=2, batch_size=2, seq_len=16)


def test_the_ledger_knows_the_peak_and_who_holds_it():
    x = torch.randn(100, 100, requires_grad=True)

    def work():
        a = x * 2  # alive at the peak
        b = a.exp()
        del b
        c = torch.cat((a, a, a))  # the peak: a and c
        del c
        return a + 1

    with anatomy.Ledger([x]) as ledger:
        work()
    assert ledger.top == 4 * 40_000 and ledger.held == 0
    largest, second = ledger.at_peak()
    assert (largest.shape, largest.count, largest.size) == ((300, 100), 1, 120_000)
    assert (second.shape, second.where) == ((100, 100), "forward aten.mul")


def test_the_ledger_tells_backward_from_forward_and_counts_no_storage_twice():
    x = torch.randn(64, 64, requires_grad=True)
    with anatomy.Ledger([x]) as ledger:
        y = x.exp()
        views = [y.view(-1), y.T, y[0]]
        y.sum().backward()
    assert any(held.where.startswith("backward ExpBackward") for held in ledger.at_peak())
    assert len(views) == 3 and ledger.top < 5 * x.nbytes


def test_time_is_charged_to_the_function_that_spends_it():
    def busy():
        end = time.process_time() + 0.05
        while time.process_time() < end:
            torch.ones(10).sum()

    names = {"__name__": "asiarc.kernels.planted", "busy": busy}
    exec("def slow():\n    busy()\n\ndef fast():\n    pass\n\ndef both():\n    slow(); fast(); fast()", names)
    found = anatomy.seconds_by_function(names["both"])
    assert found["slow"][0] == 1 and found["fast"][0] == 2 and found["slow"][1] > 0.04 > found["fast"][1]


@pytest.mark.parametrize("operator", ["aten::bmm", "aten::copy_", "aten::mul", "aten::view"])
def test_kinds(operator):
    kinds = {"bmm": "products", "copy_": "copies", "mul": "element by element", "view": "views and allocation"}
    assert anatomy.kind_of(operator) == kinds[operator.removeprefix("aten::")]


def test_what_bounds_the_memory_is_said_in_numbers():
    mib = 2**20
    text = anatomy.against_the_goal(
        anatomy.Memory(60 * mib, 16 * mib, 33 * mib), anatomy.Memory(90 * mib, 16 * mib, 70 * mib)
    )
    assert "0.67 of transformers'" in text and "A third of theirs is 30.0 MiB" in text
    assert "leaves 14.0 where 33.0 are kept" in text


def test_the_command_prints_the_parts_of_both(tmp_path):
    out = tmp_path / "profile.txt"
    done = CliRunner().invoke(main, ["profile", "--shape", "1x64x1x8", "--out", str(out)])
    assert done.exit_code == 0, done.output
    text = out.read_text()
    for wanted in (
        "by ours",
        "by transformers",
        "products",
        "inverse",
        "SolveTriangularBackward",
        "kept for the backward",
        "A third of theirs",
    ):
        assert wanted in text, wanted


@pytest.mark.parametrize("mixer", training.MIXERS)
def test_a_stand_in_trains_the_same_model(mixer):
    rows = {row.by: row for row in training.measure(mixer, TINY, 1)}
    assert set(rows) == {"ours", "transformers", "recurrence"}
    for row in rows.values():
        assert row.error < training.TOLERANCE and row.tokens_per_s > 0, row
    assert rows["ours"].gain is None and all(rows[by].gain for by in ("transformers", "recurrence"))


def test_a_stand_in_that_computes_something_else_gets_no_number(monkeypatch):
    monkeypatch.setattr(training, "by_token", lambda operator: lambda q, k, v, g, beta: v)
    rows = {row.by: row for row in training.measure("gated_delta_net", TINY, 1)}
    assert rows["recurrence"].tokens_per_s is None and "WRONG" in rows["recurrence"].line()
    assert rows["transformers"].tokens_per_s > 0


@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled")
def test_a_compiled_model_is_the_same_and_its_compiling_is_counted(monkeypatch):
    """Through the tracing of torch.compile alone: what makes machine code of it takes a compiler and many seconds."""
    import torch._inductor.config as inductor

    for name in ("force_disable_caches", "compile_threads"):
        monkeypatch.setattr(inductor, name, getattr(inductor, name))  # put back at the end
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    ours, compiled = training.measure("delta_net", TINY, 1, (training.OURS, training.COMPILED))
    assert compiled.error < training.TOLERANCE and compiled.tokens_per_s > 0
    assert compiled.once_s > ours.once_s, "compiling is what the first batch took beyond the later ones"


def test_an_unknown_mixer_is_named():
    done = CliRunner().invoke(main, ["training", "--mixer", "mamba3"])
    assert done.exit_code == 1 and "mamba2" in done.output
