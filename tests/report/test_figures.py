"""Figures of reports that somebody changed: drawn or refused in good time, whatever their rows hold."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import time

import pytest
from click.testing import CliRunner

from asiarc.report.figures import FIGURES, draw
from tests.rigs import ROOT
from tests.rigs.fuzz import main

FOLDER = ROOT / "results/reproduction/quick/figures"
FILES = {kind: path for path in sorted(FOLDER.glob("*.csv")) for kind in FIGURES if path.stem.endswith(f"-{kind}")}
REFUSED = (ValueError, KeyError, OverflowError, ZeroDivisionError, IndexError, TypeError)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # of matplotlib's layout
CPU_S = 10.0  # a figure takes a tenth of a second; one that is stuck, for ever


def rows_of(kind):
    with FILES[kind].open() as file:
        return list(csv.DictReader(file))


def spent(kind, rows):
    """CPU-seconds to draw or to refuse."""
    began = time.process_time()
    with contextlib.suppress(*REFUSED):  # the report's reader says what is wrong with it
        draw(kind, rows)
    return time.process_time() - began


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("values", [("1e308", "-1e308"), ("1e16",), ("5e-324", "0")], ids=["far", "equal", "near"])
def test_no_range_of_numbers_takes_long(kind, values):
    rows = rows_of(kind)
    numeric = [column for column in rows[0] if is_number(rows[-1][column]) and column not in ("number", "parent")]
    odd = [row | dict.fromkeys(numeric, values[i % len(values)]) for i, row in enumerate(rows)]
    assert spent(kind, odd) < CPU_S


@pytest.mark.parametrize("kind", FILES)
def test_no_text_is_drawn_whole(kind):
    rows = rows_of(kind)
    texts = [c for c in rows[0] if not is_number(rows[-1][c]) and c not in ("parent", "outcome", "role")]
    long = [row | {column: row[column] + "x" * 5000 for column in texts} for row in rows]
    drawn = ""
    with contextlib.suppress(*REFUSED):
        drawn = draw(kind, long)
    assert "x" * 100 not in drawn


@pytest.mark.parametrize("parents", [{"-1": "0"}, {"-1": "-1"}, {"0": "0"}, {"-1": "3", "3": "-1"}], ids=str)
def test_a_lineage_that_goes_round_in_a_circle_ends(parents):
    rows = [row | {"parent": parents.get(row["number"], row["parent"])} for row in rows_of("lineage")]
    assert spent("lineage", rows) < CPU_S


def test_what_a_fuzzer_finds_goes_to_no_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep").mkdir()
    for folder in (".", "deep", "deep/new"):
        result = CliRunner().invoke(main, ["reply", "--found", folder])
        assert result.exit_code == 2 and "in a checkout" in result.output


def test_no_input_of_a_fuzzer_is_committed():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no git")
    assert not [
        name for name in done.stdout.splitlines() if name.rpartition("/")[2].startswith(("slow-unit-", "crash-"))
    ]
