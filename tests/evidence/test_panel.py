"""What the panel's table says, from values whose order is known."""

import itertools
import json

import pytest

from asiarc.core.errors import EvidenceError
from asiarc.core.pattern import pattern_of
from asiarc.evidence.multiplicity import holm
from asiarc.models.baselines import PANEL_NAMES
from asiarc.models.controls import CONTROL_NAMES
from tests.rigs import panel


def values(**levels):
    """Losses of everything at 2.5 but for what is named; a little noise that differs from mixer to mixer."""
    names = [*PANEL_NAMES, *CONTROL_NAMES, *(panel.mixed(name)[0] for name in panel.HYBRIDS)]
    draws = itertools.cycle([0.001, -0.002, 0.0005, 0.002, -0.0015, 0.0003, -0.0007])
    return {
        name: {str(seed): levels.get(name.replace(" 3:1", "_31"), 2.5) + next(draws) for seed in range(5)}
        for name in names
    }


def test_holm_by_hand():
    """0.01 * 4, then 0.02 * 3, then max(0.03 * 2, 0.06), then max(0.06, 0.05)."""
    found = holm({"a": 0.01, "b": 0.05, "c": 0.02, "d": 0.03})
    assert found == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def test_everything_is_trained_at_one_size_and_the_hybrids_are_patterns():
    study = panel.study("text")
    assert len(PANEL_NAMES) >= 16 and set(PANEL_NAMES) < set(study.mixers) and study.seeds >= 5
    for name in panel.HYBRIDS:
        assert pattern_of(study.mixers[panel.mixed(name)[0]]) == (name,) * 3 + ("softmax_attention",)
    assert len({request.match for request in study.requests([*study.mixers], {}, "full").values()}) == 1


def test_noise_alone_says_nothing():
    told = panel.verdicts(panel.compared(values(), higher_is_better=False), values(), higher_is_better=False)
    family = panel.compared(values(), higher_is_better=False)
    assert {one.says for one in family} == {"not told apart"}
    assert "In 0 of 8 mixers by an interval, against it in 0" in told[1]
    assert "0 of 4 neighbours as published, 0 the other way" in told[2]


def test_what_is_ahead_is_said(tmp_path):
    found = values(local_filter=2.9, kda=2.3, kda_31=2.6, mamba2_31=2.2)
    text = panel.write(tmp_path, "text", found)
    record = json.loads((tmp_path / "text.json").read_text())
    says = {(one["first"], one["second"]): one["says"] for one in record["family"]}
    assert says["gla", "local_filter"] == "gla is ahead"
    assert says["kda 3:1", "kda"] == "kda is ahead" and says["mamba2 3:1", "mamba2"] == "mamba2 3:1 is ahead"
    assert says["kda 3:1", "mamba2 3:1"] == "mamba2 3:1 is ahead"
    assert "is the best alone (kda) the best in 3:1? the best alone is behind" in text
    assert "1 of 4 neighbours as published, 1 the other way" in text  # mamba2 3:1 over mamba2; and over attention
    assert "| mamba2 3:1 | 2.2" in text


def test_accuracies_run_the_other_way():
    found = {name: {s: 3 - v for s, v in some.items()} for name, some in values(kda=2.3, local_filter=2.9).items()}
    family = panel.compared(found, higher_is_better=True)
    [one] = [one for one in family if one.first == "kda" and one.about == "memory"]
    assert one.effect.mean == pytest.approx(0.6, abs=0.01)
    told = panel.verdicts(family, found, higher_is_better=True)
    assert told[0].startswith("Of the 8 mixers with a hybrid, is the best alone (kda)")


def test_few_seeds_are_an_error():
    class Result:
        study = panel.study("text")

        def values(self, name, task):
            return {"0": 1.0, "1": 1.0}

        def unscored(self):
            return ["kda: timed out"]

    with pytest.raises(EvidenceError, match="fewer than three"):
        panel.values_of(Result(), "text")
