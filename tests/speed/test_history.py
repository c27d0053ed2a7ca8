"""The history reads pytest-benchmark's files in the order of their dates and draws every ratio."""

from __future__ import annotations

import json
import subprocess

from click.testing import CliRunner

from tests.rigs.kernels import history
from tests.rigs.kernels.__main__ import main


def record(day, ratio):
    ratios = {"bmm": {"ratio": ratio, "low": ratio * 0.9, "high": ratio * 1.1, "pairs": 16}}
    return {
        "datetime": f"2026-11-{day:02d}T00:00:00",
        "commit_info": {"id": f"{day:040d}"},
        "benchmarks": [{"param": name, "extra_info": {"ratios": ratios}} for name in ("kda", "gla")],
    }


def test_records_are_read_by_date_and_drawn(tmp_path):
    folder = tmp_path / "Linux"
    folder.mkdir()
    for name, day, ratio in (("0001_a.json", 9, 2.0), ("0002_b.json", 3, 4.0)):
        (folder / name).write_text(json.dumps(record(day, ratio)))
    found = history.records(tmp_path)
    rows = history.rows(found)
    assert [(r["record"], r["operator"], r["ratio"]) for r in rows] == [
        (0, "kda", 4.0), (0, "gla", 4.0), (1, "kda", 2.0), (1, "gla", 2.0),
    ]  # fmt: skip
    svg = history.figure(found)
    assert svg.startswith("<svg") and all(text in svg for text in ("kda", "gla", "time over bmm"))


def test_what_was_not_measured_leaves_no_trace_in_a_record(tmp_path):
    path = tmp_path / "0001_a.json"
    half = record(1, 2.0)
    half["benchmarks"][0]["extra_info"] = {}
    path.write_text(json.dumps(half))
    assert history.prune(path) == 1
    assert [bench["param"] for bench in json.loads(path.read_text())["benchmarks"]] == ["gla"]
    half["benchmarks"][1]["extra_info"] = {}
    path.write_text(json.dumps(half))
    assert history.prune(path) == 0 and not path.exists()


def test_a_busy_machine_adds_nothing_to_the_history(tmp_path, monkeypatch):
    def given_up(command, check):
        folder = tmp_path / "Linux"
        folder.mkdir()
        empty = record(1, 2.0) | {"benchmarks": [{"param": "kda", "extra_info": {}}]}
        (folder / "0001_b.json").write_text(json.dumps(empty))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(history, "FOLDER", tmp_path)
    monkeypatch.setattr(history, "files", lambda: sorted(tmp_path.glob("*/*.json")))
    monkeypatch.setattr("asiarc.speed.machine.require_own_process", lambda: None)
    monkeypatch.setattr("asiarc.speed.machine.require_quiet", lambda: None)
    monkeypatch.setattr("subprocess.run", given_up)
    found = CliRunner().invoke(main, ["yardstick"])
    assert found.exit_code == 2 and "0 of 14 operators measured" in found.output, found.output
    assert list(tmp_path.glob("*/*.json")) == []


def test_without_records_there_is_no_figure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["figure"])
    assert found.exit_code == 1 and "no records" in found.output
