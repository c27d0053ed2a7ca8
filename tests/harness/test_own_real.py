"""A question that is all one's own, with nothing faked: recipe, mixer and text, through gates, training and scoring."""

from __future__ import annotations

import sys

import pytest

from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.core.seeds import rng_of
from asiarc.engineer.gates.admission import GATES

CAMPAIGN = """
from asiarc import Budget, Campaign, Recipe, Stage, by_tier

mine_on_mine = Campaign(
    start_from="mixers/mean.py",
    baselines=("mixers/mean.py",),
    recipe=Recipe(d_model=48, num_heads=3, num_layers=1, seq_len=48, batch_size=4, steps=3, precision="bfloat16"),
    explore=Stage(tasks=("text:book.txt",)),
    budget=by_tier(smoke=Budget(candidates=1, minutes=20)),
)


def test_scored(outcome):
    assert outcome.evaluated == 1 and outcome.baseline("mean").values("{task}", "explore")
"""
MEAN = '''"""A moving mean, of which every channel learns the rate."""
import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, state=None):
        gate = torch.sigmoid(self.gate(x) + 1)
        value = (1 - gate) * self.value(x)
        memory = torch.zeros_like(x[:, 0]) if state is None else state
        outputs = []
        for g, v in zip(gate.unbind(1), value.unbind(1)):
            memory = g * memory + v
            outputs.append(memory)
        return self.out(torch.stack(outputs, 1)), memory
'''


@pytest.fixture
def question(pytester, monkeypatch):
    rng = rng_of("book")
    words = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(3000)]
    text = "\n\n".join(" ".join(rng.choices(words, k=60)) for _ in range(600))
    (pytester.path / "book.txt").write_text(text, encoding="utf-8")
    (pytester.path / "mixers").mkdir()
    (pytester.path / "mixers" / "mean.py").write_text(MEAN)
    monkeypatch.setenv("ASIARC_CACHE", str(pytester.path / "cache"))
    return pytester.makepyfile(campaign_own=CAMPAIGN.replace('"{task}"', 'outcome.tasks("explore")[0]'))


def test_it_is_answered(pytester, question):
    options = ("--store", "store", "--asiarc-no-report", "--workers", "1", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(question, *options)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"*mean (mixers/mean.py): {len(GATES)} gates passed*"])
    with Archive(pytester.path / "store", write=False) as archive:
        (run,) = archive.runs()
        (row,) = archive.rows("SELECT DISTINCT recipe FROM trials")
        found = CampaignResult.load(archive, run["run"])
        assert found.baselines.keys() == {"mean"} and found.best_baseline("explore").name == "mean"
    assert '"d_model": 48' in row["recipe"] and '"precision": "bfloat16"' in row["recipe"]
    shown = pytester.run(sys.executable, "-m", "asiarc", "show", "mine_on_mine", "--store", "store")
    assert shown.ret == 0
    reported = pytester.run(sys.executable, "-m", "asiarc", "report", "--store", "store", "--output", "report")
    assert reported.ret == 0 and "gains over mean" in (pytester.path / "report" / "report.md").read_text()
