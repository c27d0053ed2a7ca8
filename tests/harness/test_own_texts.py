"""A text of one's own is found from its campaign's file, built once, and opened by what it says, wherever it lies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from asiarc import Stage
from asiarc.core.errors import CampaignError, TaskError
from asiarc.core.seeds import rng_of
from asiarc.harness.session import Lab
from asiarc.tasks import get_task
from asiarc.tasks.corpus import cache_folder

from .fakes import FakeExecutor, campaign

QUESTION = """\
from asiarc import Budget, Campaign, Stage, by_tier

question = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(tasks=({text!r},)),
    budget=by_tier(smoke=Budget(candidates=2, minutes=5)),
)

def test_seen(outcome):
    assert outcome.evaluated and outcome.tasks("explore")[0].startswith("text:book-")
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A home with ``book.txt``, and a folder ``book`` of the same text in two files; the cache is empty."""
    rng = rng_of("book")
    paragraphs = [" ".join("".join(rng.choices("abcdefgh", k=6)) for _ in range(60)) for _ in range(300)]
    home = tmp_path / "home"
    (home / "book").mkdir(parents=True)
    for name, part in (("book.txt", paragraphs), ("book/1.txt", paragraphs[::2]), ("book/2 ü.txt", paragraphs[1::2])):
        (home / name).write_text("\n\n".join(part), encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    return home / "book.txt"


FORMS = ["{absolute}", "~/book.txt", "../home/book.txt", "~/book", "../home/book"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_and_its_jobs_know_its_key_alone(pytester, book, form, monkeypatch):
    executor = FakeExecutor()
    monkeypatch.setattr(Lab, "executor", property(lambda lab: executor))
    folder = book.parent.parent / "campaigns"
    folder.mkdir()
    text = "text:" + form.format(absolute=book)
    (folder / "campaign_a.py").write_text(QUESTION.format(text=text), encoding="utf-8")
    monkeypatch.chdir(folder.parent)
    pytester.runpytest_inprocess("--rootdir", ".", "campaigns").assert_outcomes(passed=2)
    (task,) = {trial["task"] for trial in executor.trials}
    assert task.startswith("text:book-") and "/" not in task
    shutil.rmtree(book.parent)  # a job sees the cache, and nothing of the home
    assert get_task(task).batch("train", 2, 0).inputs_BT.shape == (2, 128)


def test_where_it_lies_does_not_matter_and_what_it_says_does(book, tmp_path):
    def named(path):
        return campaign(explore=Stage(tasks=(f"text:{path}",))).at(tmp_path).explore.tasks

    before = named(book)
    moved = tmp_path / "elsewhere" / "book.txt"
    moved.parent.mkdir()
    shutil.copy(book, moved)
    assert named(moved) == named(os.path.relpath(moved, tmp_path)) == before
    assert campaign(explore=Stage(tasks=before)).at(tmp_path).explore.tasks == before, "a key stays a key"
    built = {file: file.stat().st_mtime_ns for file in cache_folder().rglob("*")}
    named(book)
    assert {file: file.stat().st_mtime_ns for file in cache_folder().rglob("*")} == built, "it was built once"
    moved.write_text(book.read_text(encoding="utf-8") + "\n\nAnd something more.", encoding="utf-8")
    assert named(moved) != before


@pytest.mark.parametrize("path", ["nowhere.txt", "~nobody-of-this-name/book.txt"])
def test_a_text_that_is_not_there_is_told_with_its_stage(path, tmp_path):
    with pytest.raises(CampaignError, match="explore: ") as told:
        campaign(explore=Stage(tasks=(f"text:{path}",))).at(tmp_path, build=False)
    assert told.value.field == "explore"


def test_a_key_whose_text_is_gone_says_what_to_do(book, tmp_path, monkeypatch):
    (task,) = campaign(explore=Stage(tasks=(f"text:{book}",))).at(tmp_path).explore.tasks
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "another machine's"))
    with pytest.raises(TaskError, match="run again the campaign that names its file"):
        get_task(task).batch("train", 1, 0)


def test_too_little_text_is_told_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    Path(tmp_path / "small.txt").write_text("too short", encoding="utf-8")
    with pytest.raises(CampaignError, match=r"too little text in .*small\.txt"):
        campaign(explore=Stage(tasks=("text:small.txt",))).at(tmp_path)
