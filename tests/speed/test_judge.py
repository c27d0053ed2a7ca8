"""Every planted cheat is caught by the check that it names, every honest kernel passes, every hack has a cheat."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from asiarc.speed import judge
from tests.rigs.kernels.__main__ import main

HERE = Path(__file__).parent
CHEATS = sorted((HERE / "cheats").glob("*.py"))
HONEST = sorted((HERE / "honest").glob("*.py"))


@pytest.mark.parametrize("path", CHEATS, ids=lambda path: path.stem)
def test_a_cheat_is_caught_by_the_check_it_names(path):
    named = judge.named_check(path.read_text())
    found = judge.examine(path, only=named).findings  # the command runs every check
    assert named in found, found


@pytest.mark.parametrize("path", HONEST, ids=lambda path: path.stem)
def test_an_honest_kernel_passes(path, monkeypatch):
    if path.stem == "token_by_token":  # whose time is as linear in the tokens as the floor that it is held against
        (large,) = judge.LARGE.values()
        monkeypatch.setitem(judge.LARGE, "gated_delta_rule", large | {"T": 64})
    assert judge.examine(path, seed=1).findings == {}


def test_the_shipped_operator_passes():
    assert judge.examine(None).findings == {}


def test_every_hack_has_a_cheat_and_every_check_catches_one():
    sources = [path.read_text() for path in CHEATS]
    assert {judge.hack_of(source) for source in sources} == set(judge.HACKS)
    assert {judge.named_check(source) for source in sources} == set(judge.CHECKS)


def test_a_file_that_does_not_load_is_no_kernel(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def gated_delta_rule(:\n")
    found = judge.examine(path).findings
    assert "line 1" in found["imports"] and "cannot be loaded" in found["correct"]


def test_the_table_counts_and_fails_on_a_miss(tmp_path):
    for name in ("cheats", "honest"):
        (tmp_path / name).mkdir()
    honest = (HERE / "honest/on_the_shared_algebra.py").read_text()
    (tmp_path / "cheats/not_one.py").write_text(f"# caught by: zero\n# hack: {judge.HACKS[0]}\n{honest}")
    found = CliRunner().invoke(main, ["cheats", str(tmp_path)])
    assert found.exit_code == 1 and "MISSED" in found.output
    assert "0 of 1 cheats caught, 1 of 1 honest kernels passed" in found.output
