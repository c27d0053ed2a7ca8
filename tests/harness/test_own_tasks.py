"""Tasks of one's own in campaigns: found from the campaign's file, refused at its line, opened by their keys; and what
a task that measures nothing may decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from asiarc import Stage
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.harness.session import Lab
from asiarc.report.checks import verify
from asiarc.report.document import write

from .fakes import Bench, FakeExecutor, Refusing, candidate, written

COPYING = '''\
import numpy as np
import asiarc


@asiarc.task(chance={chance}, choices="ABCD", role="decides")
def {name}(rng, count, *, letters=8):
    """Letters, twice."""
    said_BT = 65 + rng.integers(4, size=(count, letters))
    text_BT = np.concatenate([said_BT, said_BT], axis=1)
    inputs_BT = np.concatenate([np.zeros((count, 1), dtype=np.int64), text_BT[:, :-1]], axis=1)
    return inputs_BT, np.where(np.arange(2 * letters) < letters, -100, text_BT)
'''
QUESTION = """\
from asiarc import Budget, Campaign, Stage, by_tier

question = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(
        tasks=("text", {task}),
    ),
    budget=by_tier(smoke=Budget(candidates=2, minutes=5)),
)

def test_seen(outcome):
    assert outcome.evaluated == 2 and outcome.tasks("explore")[1].startswith("own:copying-")
"""
TOML = """\
start_from = "delta_net"
baselines = ["delta_net"]
budget = { smoke = { candidates = 2, minutes = 5 } }

[explore]
tasks = ["text", "../tasks/copying.py:copying"]
"""
FORMS = {
    "in its file": {"campaign_a.py": COPYING + QUESTION.format(task="copying")},
    "by its path": {"campaign_a.py": QUESTION.format(task='"../tasks/copying.py:copying"')},
    "imported": {"campaign_a.py": "from copying_task import copying\n" + QUESTION.format(task="copying"),
                 "copying_task.py": COPYING},
    "in TOML": {"campaign_a.toml": TOML},
}  # fmt: skip


@pytest.fixture
def folder(pytester, tmp_path, monkeypatch):
    """Writes campaigns, beside a folder with a task; the cache is empty."""
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(pytester.path / "campaigns")

    def write(chance=0.25, **files):
        for name, text in {"../tasks/copying.py": COPYING, **files}.items():
            path = pytester.path / "campaigns" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("{chance}", str(chance)).replace("{name}", "copying"), encoding="utf-8")

    (pytester.path / "campaigns").mkdir()
    return write


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_by_one_key(pytester, folder, form, monkeypatch):
    executor = FakeExecutor()
    monkeypatch.setattr(Lab, "executor", property(lambda lab: executor))
    folder(**FORMS[form])
    pytester.runpytest_inprocess("campaigns").assert_outcomes(passed=1 if form == "in TOML" else 2)
    tasks = {trial["task"] for trial in executor.trials}
    assert tasks == {"text", "own:copying-ba1e2cd677ee7960"}, "the same content has the same key, wherever it lies"


@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_generator_is_an_error_of_the_campaign_at_its_line(pytester, folder, form):
    folder(chance=0.05, **FORMS[form])
    result = pytester.runpytest_inprocess("campaigns", "--collect-only")
    result.assert_outcomes(errors=1)
    (line,) = [line for line in result.outlines if "more than chance=0.05 says" in line]
    named = FORMS[form]["campaign_a.toml" if form == "in TOML" else "campaign_a.py"].splitlines()
    wanted = next(number for number, text in enumerate(named, 1) if "explore" in text)
    assert f"campaign_a.{'toml' if form == 'in TOML' else 'py'}:{wanted}: " in line
    assert not (pytester.path.parent / "cache").exists()


def test_a_place_that_is_not_there_is_told_when_collected(pytester, folder):
    folder(**{"campaign_a.py": QUESTION.format(task='"../tasks/coping.py:copying"')})
    result = pytester.runpytest_inprocess("campaigns", "--collect-only")
    result.stdout.fnmatch_lines(["*campaign_a.py:6: question: explore: no file or folder '*tasks/coping.py'*"])


def test_what_the_page_shows_is_collected(pytester, folder):
    page = (Path(__file__).parents[2] / "docs" / "own.md").read_text(encoding="utf-8")
    folder(**{"campaign_page.py": page.partition("```python\n")[2].partition("```")[0]})
    result = pytester.runpytest_inprocess("campaigns", "--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == ["campaigns/campaign_page.py::letters::explore"]


def test_what_is_planned_is_what_was_asked(pytester, folder):
    folder(**FORMS["by its path"])
    result = pytester.runpytest_inprocess("campaigns", "--plan", "--store", "store")
    result.stdout.fnmatch_lines(["*campaign_a.py::question::explore*", "*nothing was run (--plan)*"])


# --- a task that measures nothing -------------------------------------------------------------------------------------


@pytest.fixture
def noise(tmp_path, monkeypatch):
    """A campaign in which text and noise decide; the worse candidate is lucky on noise."""
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "noise.py").write_text(COPYING.replace("{name}", "noise").replace("{chance}", "0.25"))

    def made(*tasks):
        stage = dict(tasks=(*tasks, "noise.py:noise"))
        sources = [candidate("lucky", GAIN=0.1, NOISE=0.7), candidate("good", GAIN=0.4)]
        stages = {"explore": Stage(**stage, seeds=2), "verify": Stage(**stage, seeds=3), "confirm": None}
        return Bench(written(*sources, **stages).at(tmp_path), tmp_path / "store")

    return made


def test_a_task_at_chance_decides_neither_the_search_nor_the_winner(noise):
    bench = noise("text")
    bench.run()
    results = bench.results()
    assert results["good"]["gain"] > results["lucky"]["gain"], "the lucky one is ahead if noise counts"
    (task,) = bench.stage("explore")["at_chance"]
    assert task.startswith("own:noise-") and bench.stage("verify")["at_chance"] == [task]
    with Archive(bench.folder) as archive:
        result = CampaignResult.load(archive, archive.runs(bench.name, bench.tier)[-1]["run"])
        assert result.winner.name == "good"
        assert result.deciding_tasks("confirm") == result.ranking_tasks("verify") == ("text",)
        assert result.winner.gain_over("delta_net").mean > 0.3
        assert abs(result.winner.gain_over("delta_net", "noise").mean) < 0.05, "it is told where it is asked for"
        page = write(archive, bench.tier, bench.folder.parent / "report")
    told = f"No baseline can be told from chance (0.250) on {task}: it decides nothing."
    assert (page.parent / "report.html").read_text().count(told) == 3, "in every stage"
    assert verify(page.parent) == []


def test_where_all_is_at_chance_nothing_is_decided(noise):
    bench = noise()
    bench.run()
    with Archive(bench.folder) as archive:
        result = CampaignResult.load(archive, archive.runs(bench.name, bench.tier)[-1]["run"])
        assert result.deciding_tasks("confirm") == () and len(result.ranking_tasks("confirm")) == 1
        with pytest.raises(EvidenceError, match=r"nothing decides in confirm.*own:noise-.*\(0.250\); train longer"):
            result.winner.gain_over("delta_net")


def test_a_resumed_run_decides_the_same(noise):
    bench = noise("text")
    bench.run(FakeExecutor(), "explore")
    whole = noise("text")
    whole.run(Refusing(), "explore")
    bench.run()
    assert bench.stage("verify")["winner"]
