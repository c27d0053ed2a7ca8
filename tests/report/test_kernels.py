"""A campaign of kernels in a report: every timing, the answer, and nothing that its rows do not give."""

from __future__ import annotations

import gzip
import json
import runpy

import pytest

from asiarc.archive.store import Archive
from asiarc.loop import kernels
from asiarc.loop.kernels import KernelDoor, KernelRun
from asiarc.report.checks import verify
from asiarc.report.document import EXTRACT, read_report, write, write_again

from ..speed.laboratory import MINE, TIER, Laboratory, asked


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    """Nobody asks git or the processor."""
    monkeypatch.setattr(kernels, "provenance", lambda: {"cpu": "one"})


def searched(archive, *, stages=("explore", "verify", "confirm"), worth=None, mine=(), **changes):
    """A campaign, faster, and as far as it went."""
    laboratory = Laboratory(worth)
    run = KernelRun(
        asked(**changes), "faster", TIER, archive, lambda _: None, gates=laboratory.gates,
        measure=laboratory.measure,
    )  # fmt: skip
    for idea in mine:
        KernelDoor(run).propose(MINE.format(idea=idea, body="o, s"), name=idea, author="agent 7")
    for stage in stages:
        run.ensure(stage)
    return run


@pytest.fixture
def written(tmp_path):
    """A report of a search that found something."""
    with Archive(tmp_path / "store") as archive:
        searched(archive, worth={"inverse": 0.8})
        write(archive, TIER, tmp_path / "report")
    return tmp_path / "report"


def again(folder, change):
    """Change rows of the extract, and write the report from what is there now."""
    head, *lines = map(json.loads, gzip.decompress((folder / EXTRACT).read_bytes()).splitlines())
    change([row for table, row in lines if table == "kernel_timings"], lines)
    text = "".join(json.dumps(line) + "\n" for line in (head, *lines))
    (folder / EXTRACT).write_bytes(gzip.compress(text.encode(), mtime=0))
    write_again(folder)


def test_it_says_what_was_found_and_every_time(written):
    (told,) = read_report(written)["kernels"]
    assert "is faster than delta_rule: it takes 0." in told["answer"] and told["finished"]
    assert len(told["proposals"]) == 6 and told["winner"]["source"].count("def delta_rule")
    winner = [row for row in told["rows"] if row["name"] == told["winner"]["name"]]
    assert [(row["stage"], row["n"], row["decision"]) for row in winner] == [
        ("explore", 3, "cannot tell"), ("verify", 3, "cannot tell"), ("confirm", 4, "better")
    ]  # fmt: skip
    for page in ("report.md", "report.html"):
        text = (written / page).read_text().replace("\\", "")
        assert told["answer"] in text and told["winner"]["name"] in text


def test_it_is_verified_and_recomputed_from_its_rows(written, capsys):
    assert verify(written) == []
    assert runpy.run_path(str(written / "check.py"))["main"](written) == []
    assert " gains" in capsys.readouterr().out


def test_it_is_the_same_written_again(written):
    before = {path.name: path.read_bytes() for path in written.iterdir() if path.is_file()}
    write_again(written)
    assert {path.name: path.read_bytes() for path in written.iterdir() if path.is_file()} == before


def halved(timings, _):
    timings[-1]["log_ratio"] /= 2


def forgotten(timings, lines):
    lines.remove(["kernel_timings", timings[-1]])


def elected(_, lines):
    for table, row in lines:
        if table == "stages" and row["stage"] == "verify":
            row["result"] = row["result"].replace('"winner": "', '"winner": "0')


def promised(_, lines):
    for table, row in lines:
        if table == "stages" and row["stage"] == "confirm":
            row["result"] = row["result"].replace('"low": 0.', '"low": 0.9')


def rewritten(_, lines):
    next(row for table, row in lines if table == "candidates")["source"] += "\nX = 1\n"


@pytest.mark.parametrize("change", [halved, forgotten, elected, promised, rewritten])
def test_whatever_is_changed_in_its_rows_is_found_though_it_is_written_from_them(written, change):
    before = (written / EXTRACT).read_bytes()
    again(written, change)
    assert (written / EXTRACT).read_bytes() != before
    assert verify(written)


def test_a_changed_number_is_found_by_who_has_no_asiarc(written):
    path = written / "report.json"
    path.write_text(path.read_text().replace('"mean": 0.', '"mean": 0.1'))
    differences = runpy.run_path(str(written / "check.py"))["main"](written)
    assert any("confirm" in line and "mean is" in line for line in differences)


def test_what_is_not_finished_says_so(tmp_path):
    with Archive(tmp_path / "store") as archive:
        searched(archive, stages=("explore",))
        write(archive, TIER, tmp_path / "report")
    (told,) = read_report(tmp_path / "report")["kernels"]
    assert not told["finished"] and told["winner"] is None and "none is confirmed" in told["answer"]
    assert "(not finished)" in (tmp_path / "report" / "report.md").read_text()
    assert verify(tmp_path / "report") == []


def test_what_was_turned_away_has_its_reason_and_no_time(tmp_path):
    with Archive(tmp_path / "store") as archive:
        searched(archive, researcher="open", mine=("wrong", "red", "fine"))
        write(archive, TIER, tmp_path / "report")
    (told,) = read_report(tmp_path / "report")["kernels"]
    ends = {row["name"].partition("_")[0]: (row["outcome"], row["gate"], row["author"]) for row in told["proposals"]}
    assert ends == {
        "wrong": ("rejected", "accuracy", "agent 7"), "red": ("rejected", "speed", "agent 7"),
        "fine": ("scored", "", "agent 7"),
    }  # fmt: skip
    assert told["rejected"] == {"accuracy": 1, "speed": 1}
    timed = {row["name"].partition("_")[0]: row["n"] for row in told["rows"] if row["stage"] == "explore"}
    assert timed == {"delta": 3, "red": 0, "fine": 3}
    assert verify(tmp_path / "report") == []
    assert runpy.run_path(str(tmp_path / "report" / "check.py"))["main"](tmp_path / "report") == []


def test_an_archive_without_any_says_nothing_of_kernels(tmp_path):
    with Archive(tmp_path / "store") as archive:
        write(archive, TIER, tmp_path / "report")
    assert "kernels" not in json.loads((tmp_path / "report" / "report.json").read_text())
    assert "## Kernels" not in (tmp_path / "report" / "report.md").read_text()


def test_named_campaigns_of_kernels_are_told_and_not_absent(tmp_path):
    with Archive(tmp_path / "store") as archive:
        searched(archive, stages=("explore",))
        write(archive, TIER, tmp_path / "one", campaigns=["faster", "slower"])
        write(archive, TIER, tmp_path / "other", campaigns=["slower"])
    one, other = (read_report(tmp_path / name) for name in ("one", "other"))
    assert one["absent"] == other["absent"] == ["slower"]
    assert len(one["kernels"]) == 1 and other["kernels"] == []
