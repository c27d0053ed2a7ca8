"""A run as a person sees it: on a terminal of sixty columns, in a pipe, without colour, interrupted."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from asiarc import Budget, Campaign, Stage, by_tier
from asiarc.archive.store import Archive
from asiarc.harness import live
from asiarc.harness.options import folded
from asiarc.harness.session import Lab
from asiarc.studies.frame import Best, Frame, rows_of
from asiarc.studies.plan import COLUMNS, plan_lines

from .screen import Screen, on_terminal

ROOT = Path(__file__).parents[2]
LABORATORY = """\
import time
import pytest
from asiarc.harness import live
from asiarc.harness.session import Lab
from tests.harness.fakes import FakeExecutor, still

live.PAUSE_S = live.SHARE = 0
Lab.executor = property(lambda lab: lab.__dict__.setdefault("_fake", FakeExecutor(interrupt_at={interrupt_at})))

@pytest.fixture(autouse=True, scope="session")
def a_still_laboratory():
    with still():
        yield
"""
QUESTION = """\
from asiarc import Budget, Campaign, Stage, by_tier

question = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net"),
    explore=Stage(tasks=("text",), seeds=2),
    verify=Stage(tasks=("text",), seeds=3, top=2),
    budget=by_tier(smoke=Budget(candidates=8, minutes=5)),
)

def test_prints(outcome):
    print("a test prints")

def test_fails(outcome):
    print("before it fails")
    assert outcome.evaluated == 99
"""


@pytest.fixture
def project(tmp_path):
    def write(interrupt_at=None):
        (tmp_path / "campaigns").mkdir()
        (tmp_path / "campaigns" / "campaign_a.py").write_text(QUESTION)
        (tmp_path / "conftest.py").write_text(LABORATORY.format(interrupt_at=interrupt_at))
        (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
        return tmp_path

    return write


def run(folder, *arguments, **environment):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--asiarc-no-report", *arguments]
    return on_terminal(command, folder, **environment)


def plain(raw):
    """Without colours and the like."""
    return re.sub(r"\x1b\[[\d;]*m", "", raw)


def test_a_table_that_leaves_nothing_behind(project):
    """Under -s a test's own output stays whole, under -x the failure; sixty columns break no number."""
    status, raw = run(project(), "-x", "-s", "--no-header", NO_COLOR="1")
    screen = Screen(60).feed(raw)
    assert status == 1 and screen.cursor_shown
    for seen in (r"trained +\d+ of about 20 trials", r"time left +\S+ to \S+ minutes for", r"elapsed +0:0"):
        assert re.search(seen, plain(raw)) and not re.search(seen, screen.text)
    table = " ".join(plain(raw).split())
    assert re.search(r"best so far \S+ \w{16}, \+0\.\d{4} \[\S+ \S+\] over delta_net: an estimate", table)
    assert "shrunken for having been chosen" in table
    assert re.search(r"\n  #0  \w+  rung 0  gain [+-]\d\.\d{4}\n", screen.text)
    assert "\x1b[3" not in raw and "\x1b[9" not in raw, "a colour"
    for whole in ("a test prints\n", "before it fails\n", ">       assert outcome.evaluated == 99"):
        assert whole in screen.text


def test_an_interruption_gives_the_terminal_back(project):
    status, raw = run(project(interrupt_at=15))
    screen = Screen(60).feed(raw)
    assert status == 2 and screen.cursor_shown and "elapsed" not in screen.text
    assert "the same command goes on from there" in " ".join(screen.text.split())


@pytest.mark.parametrize(
    ("environment", "changes"),
    [
        ({"TERM": "xterm", "CI": "1"}, {}),
        ({"TERM": "dumb"}, {}),
        ({}, {}),
        ({"TERM": "xterm"}, {"verbose": -1}),
        ({"TERM": "xterm"}, {"log_cli_level": "INFO"}),
    ],
)
def test_plain_lines_where_a_table_would_be_in_the_way(environment, changes):
    reporter = type("Reporter", (), {"__module__": "_pytest.terminal", "isatty": True})()
    option = SimpleNamespace(**{"verbose": 0, "log_cli_level": None} | changes)
    config = SimpleNamespace(
        pluginmanager=SimpleNamespace(getplugin=lambda _: reporter), option=option, getini=lambda _: False
    )
    assert not live.suits(config, environment)
    config.option.verbose, config.option.log_cli_level = 0, None
    assert live.suits(config, {"TERM": "xterm"})
    reporter.isatty = False
    assert not live.suits(config, {"TERM": "xterm"})


@pytest.mark.parametrize("width", [50, 60, 80])
def test_a_line_is_broken_between_words_and_no_number_is_lost(width):
    line = "  #12   gated_delta_product_e518e0         rung 0  gain +0.0123  fails a capability check of its own"
    pieces = folded(line, width)
    assert " ".join(" ".join(pieces).split()) == " ".join(line.split())
    assert all(len(piece) < width for piece in pieces) and all(piece.startswith("  ") for piece in pieces)
    assert folded("short", width) == ["short"] and folded(line, 200) == [line]


def test_a_plan_fits_a_narrow_terminal():
    campaign = Campaign(start_from="delta_net", baselines=("delta_net",), explore=Stage(tasks=("text",)),
                        budget=by_tier(smoke=Budget(candidates=8, minutes=1)))  # fmt: skip
    row = ("campaigns/campaign_a.py::question::explore", campaign, "question", "explore")
    wide, narrow = (plan_lines([row], "smoke", Path("nowhere"), 2, width) for width in (None, 60))
    numbers = re.findall(r"[\d.]+", wide[2].partition("explore")[2])
    told = " ".join(piece for line in narrow for piece in folded(line, 60))
    for number, name in zip(numbers, COLUMNS, strict=False):
        assert f"{number} {name}" in told
    assert plan_lines([row], "smoke", Path("nowhere"), 2, 200) == wide


def test_the_first_line_comes_before_the_first_import(pytester, monkeypatch):
    """What follows it imports for seconds; it names the stage and the tier."""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Lab, "run", stop)
    pytester.path.joinpath("campaign_a.py").write_text(QUESTION)
    result = pytester.runpytest_inprocess("-k", "explore", no_reraise_ctrlc=True)
    result.stdout.fnmatch_lines(["question explore at tier smoke"])


@pytest.mark.parametrize(("name", "ignored"), [(".asiarc", True), ("kept", False)])
def test_a_store_that_nobody_named_is_not_gits(tmp_path, name, ignored):
    with Archive(tmp_path / name):
        pass
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    status = ["git", "-C", str(tmp_path), "status", "--porcelain"]
    said = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    assert (said == "") == ignored


def test_a_table_in_place_on_any_console(monkeypatch):
    """Lines stay above it, it is looked at no oftener than it may, and it ends with what it is in."""
    monkeypatch.setenv("TERM", "xterm")
    looks, file = [], io.StringIO()

    def read():
        looks.append(1)
        return FRAME

    console = live.console_on(file, colour=False)
    with pytest.raises(RuntimeError), live.LiveTable(console, read) as table:
        table.say("a line that stays")
        table.refresh()
        raise RuntimeError
    screen = Screen(80).feed(file.getvalue().replace("\n", "\r\n"))
    assert len(looks) == 2 and screen.cursor_shown, "at the beginning and for the line, not so soon again"
    assert screen.text.split() == ["a", "line", "that", "stays"]


FRAME = Frame(
    campaign="question", tier="smoke", run="r", start_from="delta_net", stage="explore", stages=("explore",),
    finished=(), candidates=8, proposed=4, admitted=3, scored=2, rejected={"causality": 1}, failed={"timed_out": 1},
    trained=5, most_trials=20, cpu_s=1234.5, best=Best("ab12", "one", 0.1, None, None, "as measured"),
    stage_left_s=(60.0, 240.0), left_s=(60.0, 240.0),
)  # fmt: skip


def test_a_frame_in_words():
    assert dict(rows_of(FRAME)) == {
        "campaign": "question at tier smoke, run r",
        "stage": "explore, 1 of 1",
        "candidates": "4 of 8 proposed, 3 admitted, 2 scored",
        "rejected": "1 by causality",
        "failed": "1 timed out",
        "trained": "5 of about 20 trials of explore; 1,234 CPU-seconds in all",
        "best so far": "one ab12, +0.1000 over delta_net: as measured",
        "time left": "1.0 to 4.0 minutes for explore",
    }
    unknown = replace(FRAME, most_trials=None, stage_left_s=None, left_s=None, best=None)
    assert dict(rows_of(unknown))["time left"] == "not known"
    assert dict(rows_of(unknown))["trained"].startswith("5 trials") and "nothing scored yet" in str(rows_of(unknown))
