"""The measurement behind a cap on time; what is done with it is the loop's, and tested there."""

from __future__ import annotations

import pytest

from asiarc.engineer import pace
from asiarc.engineer.gates import subject
from asiarc.models.baselines import baseline_source

SIZE = {"d_model": 16, "num_heads": 2, "tokens": 8}


def test_a_ratio_with_its_interval_comes_out():
    sources = {"source": baseline_source("mamba2"), "against": baseline_source("linear_attention")}
    found = pace.pace(sources | SIZE)
    assert 0 < found["low"] <= found["ratio"] <= found["high"] and found["pairs"] == pace.PAIRS


def test_it_is_the_candidates_time_over_the_others(monkeypatch):
    """On a clock that only the mixers move, each by what it says that it costs."""
    source = "from torch import nn\nclass Mixer(nn.Module):\n    def __init__(self, d_model, num_heads):\n"
    source += "        super().__init__()\n        self.cost = {}\n"
    source += "    def forward(self, x_BTD, state=None):\n        return 2 * x_BTD, state\n"
    now_s, run = [0.0], subject.run

    def costly(mixer, x_BTD):
        now_s[0] += mixer.cost
        return run(mixer, x_BTD)

    monkeypatch.setattr(subject, "run", costly)
    monkeypatch.setattr(pace.time, "process_time", lambda: now_s[0])
    found = pace.pace({"source": source.format(3.0), "against": source.format(2.0)} | SIZE)
    assert [found[name] for name in ("ratio", "low", "high")] == pytest.approx([1.5] * 3)
