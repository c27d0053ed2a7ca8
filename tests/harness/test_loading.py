"""A campaign file that a command is given is read as pytest reads it; verbs look where pytest writes."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from asiarc.campaign.loading import declared
from asiarc.harness.cli import main
from asiarc.harness.options import project_store

from .fakes import Bench, candidate, written

QUESTION = """\
from __future__ import annotations

from dataclasses import dataclass

from asiarc import Budget, Campaign, Stage, by_tier
from neighbour import SEEDS


@dataclass
class Note:
    text: str = ""


question = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(tasks=("text",), seeds=SEEDS),
    budget=by_tier(smoke=Budget(candidates=2, minutes=5)),
)
"""


@pytest.mark.parametrize(
    ("before", "encoding"), [("", "utf-8"), ("\ufeff", "utf-8"), ("# coding: latin-1\n# Grüße\n", "latin-1")]
)
def test_dataclasses_neighbours_marks_and_coding_lines(tmp_path, before, encoding):
    (tmp_path / "neighbour.py").write_text("SEEDS = 2\n")
    file = tmp_path / "campaign_question.py"
    file.write_text(before + QUESTION, encoding=encoding)
    name, campaign = declared(file)
    assert (name, campaign.explore.seeds) == ("question", 2)
    assert "seeds = 2" in CliRunner().invoke(main, ["spec", str(file)]).output


@pytest.mark.parametrize(
    ("ini", "text"), [("pytest.ini", "[pytest]\n"), ("pyproject.toml", "[tool.pytest]\n"), ("tox.ini", "[pytest]\n")]
)
def test_the_store_is_where_pytest_has_its_root(tmp_path, monkeypatch, ini, text):
    below = tmp_path / "campaigns" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert project_store() == below / ".asiarc"
    (tmp_path / ini).write_text(text)
    assert project_store() == tmp_path / ".asiarc"


def test_verbs_read_the_same_tier_and_store_without_being_told(tmp_path, monkeypatch):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    Bench(
        written(candidate("one", GAIN=0.4), candidate("two", REJECTED="causality")), tmp_path / ".asiarc", tier="smoke"
    ).run()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    shown = CliRunner().invoke(main, ["show", "question"])
    assert shown.exit_code == 0 and "one" in shown.output
    why = CliRunner().invoke(main, ["why-rejected", "question", "two"])
    assert why.exit_code == 0 and "it looks ahead" in why.output
    nobody = CliRunner().invoke(main, ["why-rejected", "question", "ffff"])
    assert nobody.exit_code == 1 and "no candidate 'ffff' in question" in nobody.output
