"""`asiarc reproduce`: what it runs, and that a plan stays a plan."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from asiarc.archive.store import Archive
from asiarc.harness import cli, reproduce

ROOT = Path(__file__).parents[2]


def ran(monkeypatch, tmp_path, *arguments):
    """What `asiarc reproduce` hands to pytest, in order; the folders are the project's, the store is its own."""
    asked = []
    monkeypatch.setattr(reproduce, "_pytest", lambda given: asked.append(given) or 0)
    monkeypatch.setattr(reproduce, "write", lambda archive, tier, output: output / "report.html")
    monkeypatch.chdir(ROOT)
    paths = ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "report")]
    result = CliRunner().invoke(cli.main, ["reproduce", *paths, *arguments])
    assert result.exit_code == 0, result.output
    return asked, result.output


def test_a_plan_runs_nothing_and_writes_nothing(monkeypatch, tmp_path):
    asked, said = ran(monkeypatch, tmp_path, "--tier", "quick", "--plan")
    assert len(asked) == 1 and "--plan" in asked[0]
    assert {"campaigns", "reproductions"} <= set(asked[0])
    assert "report:" not in said
    assert not list(tmp_path.iterdir())


def test_a_run_says_its_plan_first_and_ends_in_the_report(monkeypatch, tmp_path):
    Archive(tmp_path / "store").close()
    (planned, run), said = ran(monkeypatch, tmp_path, "--claims", "C07a,C29")
    assert planned == [*run, "--plan", "-q"]
    assert run[run.index("--claims-only") + 1] == "C07a,C29"
    assert "report:" in said.splitlines()[-1]
