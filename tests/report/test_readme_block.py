"""The README's result is what the committed report says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from asiarc.report.document import read_report
from tests.rigs import law, questions
from tests.rigs.readme import BLOCK, EVIDENCE, FULL, SEARCHED, SHOWN, SHOWN_IN_FULL, _overtaken, block

ROOT = Path(__file__).parents[2]


def test_the_block_is_current(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = BLOCK.search(Path("README.md").read_text(encoding="utf-8"))
    assert found and found[0] == found[1] + block() + found[2], "python -m tests.rigs readme --write"


def test_it_says_what_the_report_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    text, report = block(), read_report(EVIDENCE)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| C")]
    told = [(first.split()[1], verdict) for first, verdict, *_ in rows]
    assert told == [
        (row["verdict"]["claim"], row["verdict"]["verdict"])
        for folder, shown in ((EVIDENCE, SHOWN), (FULL, SHOWN_IN_FULL))
        for row in read_report(folder)["claims"]["decided"]
        if row["verdict"]["claim"] in shown
    ]
    assert len(told) == len(SHOWN) + len(SHOWN_IN_FULL)
    fresh = [row["effect"] for row in report["campaigns"][0]["gains"] if row["fresh"]]
    assert fresh and all(f"{effect['mean']:+.4f}" in text for effect in fresh)
    figures = [line.rpartition("(")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(figures) == 1 + (SEARCHED / "law.svg").exists() and all(Path(svg).exists() for svg in figures)


def test_long_searches_are_told_once_they_are_there(monkeypatch, tmp_path):
    """And of the gallery, how many entered and are ahead of everyone, though one of them has no score."""
    monkeypatch.chdir(ROOT)
    assert block(searched=tmp_path) == block(searched=tmp_path / "nowhere")
    seen = tuple(law.Seen(7_200.0 * number, 0.1) for number in range(1, 1_201))
    bought = law.bought(law.Course(seen, {"scored": 1_200}), 0.0)
    (tmp_path / "law.json").write_text(json.dumps({"searches": {"asi_arch": {"bought": bought}}}))
    assert "| asi\\_arch | 1,200 | 1,200 | 2400.0 | 1,200 |" in block(searched=tmp_path)
    (tmp_path / "asi_arch").mkdir()
    table = {"panel": "panel 2026-11", "searched": 9, "entered": 3,
             "finalists": [{"is_discovery": True}, {"is_discovery": False}]}  # fmt: skip
    (tmp_path / "asi_arch" / "table.json").write_text(json.dumps(table))
    written = block(searched=tmp_path)
    assert "1 of its 3 finalists are ahead of every mixer of panel 2026-11" in written
    assert "the best means of 9 in a first look" in written


def test_claims_that_are_asked_otherwise_since_a_report_was_made_are_named(monkeypatch):
    monkeypatch.chdir(ROOT)
    report, now = read_report(EVIDENCE), read_report(EVIDENCE)
    assert _overtaken(now) == "", "the published run is of today's register"
    former = tomllib.loads((ROOT / "reproductions" / "former.toml").read_text(encoding="utf-8"))
    entry = next(row["register"] for row in report["claims"]["decided"] if row["verdict"]["claim"] == "C31")
    entry.update(former["C31"])
    assert _overtaken(report).startswith("; C31 are asked otherwise since")


def test_the_table_of_questions_is_current(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = questions.BLOCK.search(questions.PAGE.read_text(encoding="utf-8"))
    assert found and found[0] == found[1] + questions.block() + found[2], "python -m tests.rigs questions --write"
    asked = questions.questions().values()
    assert len(asked) >= 12 and all(text.endswith(("?", ".")) for text in asked)


def test_the_question_that_was_published_is_answered(monkeypatch):
    monkeypatch.chdir(ROOT)
    (row,) = [line for line in questions.block().splitlines() if "`delta_text`" in line]
    fresh = [gain["effect"] for gain in read_report(EVIDENCE)["campaigns"][0]["gains"] if gain["fresh"]]
    assert f"{fresh[0]['mean']:+.4f}" in row
