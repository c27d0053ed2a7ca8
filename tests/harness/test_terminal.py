"""A run as a person sees it: on a terminal of sixty columns, in a pipe, without colour, interrupted."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from asiarc.harness import live
from asiarc.harness.live import folded

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
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
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
