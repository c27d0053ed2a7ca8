"""The promises, at a size that tests can afford, and that the measuring itself would notice a broken one."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tests.rigs.statistics import simulate
from tests.rigs.statistics.simulate import Check, all_checks, measure


@pytest.mark.parametrize("check", [c for c in all_checks() if c.promised], ids=lambda check: check.name)
def test_promises_hold(check):
    found = measure(check, 100)
    assert found.holds, f"{found.rate:.3f} [{found.low:.3f}, {found.high:.3f}]"


@pytest.mark.parametrize("name", ["t interval looked at 100 times", "null campaign of 20, winner on its own seeds"])
def test_the_habits_that_the_defaults_avoid_are_caught(name):
    check = next(check for check in all_checks() if check.name == name)
    assert not measure(check, 60).holds


def test_a_broken_promise_is_noticed():
    liar = Check("covers 80 %", "coverage", "at least", 0.95, lambda rng: float(rng.random() < 0.8))
    assert not measure(liar, 300).holds
    honest = Check("covers 96 %", "coverage", "at least", 0.95, lambda rng: float(rng.random() < 0.96))
    assert measure(honest, 300).holds
    assert measure(honest, 300) == measure(honest, 300)


def test_command_fails_when_a_promise_is_broken(monkeypatch, tmp_path):
    never = Check("never right", "coverage", "at least", 0.95, lambda rng: 0.0)
    monkeypatch.setattr(simulate, "all_checks", lambda: [never])
    result = CliRunner().invoke(simulate.main, ["100", "--out", str(tmp_path / "rates.json")])
    assert result.exit_code == 1
    assert "BROKEN" in result.output
    (row,) = json.loads((tmp_path / "rates.json").read_text())
    assert (row["rate"], row["repetitions"], row["verdict"]) == (0.0, 100, "BROKEN")


def test_names_are_unique_since_they_seed():
    names = [check.name for check in all_checks()]
    assert len(names) == len(set(names))
