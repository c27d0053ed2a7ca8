"""`asiarc reproduce`: what it runs, and that a plan stays a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from asiarc.archive.store import Archive
from asiarc.harness import cli, reproduce
from asiarc.report.agreement import agreement

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results" / "reproduction" / "quick"


def written(archive, tier, output, campaigns):
    """A report in which one claim is not testable and one is decided otherwise."""
    output.mkdir(parents=True, exist_ok=True)
    report = json.loads((PUBLISHED / "report.json").read_text(encoding="utf-8"))
    now = {"C09e": "not testable here", "C02": "contradicted"}
    rows = [row for row in report["claims"]["decided"] if row["verdict"]["claim"] in now]
    for row in rows:
        row["verdict"]["verdict"] = now[row["verdict"]["claim"]]
    report["claims"]["decided"] = rows
    (output / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return output / "report.html"


def ran(monkeypatch, tmp_path, *arguments):
    """What `asiarc reproduce` hands to pytest, in order; the folders are the project's, the store is its own."""
    asked = []
    monkeypatch.setattr(reproduce, "_pytest", lambda given, **_: asked.append(given) or 0)
    monkeypatch.setattr(reproduce, "write", written)
    monkeypatch.setattr(reproduce, "agreement", lambda published, found: f"agrees with {published}")
    monkeypatch.chdir(ROOT)
    paths = ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "report")]
    result = CliRunner().invoke(cli.main, ["reproduce", *paths, *arguments])
    assert result.exit_code == 0, result.output
    return asked, result.stdout if "--json" in arguments else result.output


def test_a_plan_runs_nothing_and_writes_nothing(monkeypatch, tmp_path):
    asked, said = ran(monkeypatch, tmp_path, "--tier", "quick", "--plan")
    assert len(asked) == 1 and "--plan" in asked[0]
    assert asked[0][:2] == ["campaigns/campaign_delta_text.py", "reproductions"], "what the paper's claims need"
    assert "report:" not in said
    assert not list(tmp_path.iterdir())


def test_a_run_says_its_plan_first_and_ends_in_the_report(monkeypatch, tmp_path):
    Archive(tmp_path / "store").close()
    (planned, run), said = ran(monkeypatch, tmp_path, "--tier", "quick", "--claims", "C07a,C29")
    assert planned == [*run, "--plan", "-q"]
    assert run[run.index("--claims-only") + 1] == "C07a,C29"
    *_, head, first, second, report, agrees = said.splitlines()
    assert head.split(maxsplit=2) == ["claim", "today", "strongest that is published"]
    assert first.startswith("C02   contradicted") and first.endswith("reproduced (full)")
    assert second.startswith("C09e  not testable here") and second.endswith("contradicted at smaller scale (full)")
    assert "report:" in report and agrees == "agrees with results/reproduction/quick"


def test_a_program_gets_the_status_and_the_place_and_nothing_else(monkeypatch, tmp_path):
    Archive(tmp_path / "store").close()
    _, said = ran(monkeypatch, tmp_path, "--tier", "quick", "--json")
    told = json.loads(said)
    assert (told["exit_status"], told["report"]) == (0, str(tmp_path / "report"))
    first, second = told["claims"]
    assert (first["claim"], first["verdict"]) == ("C02", "contradicted")
    assert first["published"]["verdict"] == "reproduced"
    assert (second["verdict"], second["published"]["tier"]) == ("not testable here", "full"), "quick says nothing of it"


def test_it_writes_beside_what_is_published(monkeypatch, tmp_path):
    """So that the tests, which hold the published run, are as green after a reproduction as before."""
    monkeypatch.setattr(cli, "project_store", lambda: tmp_path / ".asiarc")
    given = {}
    monkeypatch.setattr(reproduce, "reproduce", lambda *_, **options: given.update(options) or 0)
    CliRunner().invoke(cli.main, ["reproduce", "--tier", "quick"])
    assert given["output"] == tmp_path / ".asiarc" / "reproduction" / "quick"


COUNT = len(json.loads((PUBLISHED / "report.json").read_text(encoding="utf-8"))["claims"]["decided"])


@pytest.fixture
def changed(tmp_path):
    """A copy of the published report in which something else was found."""

    def copy(**changes):
        report = json.loads((PUBLISHED / "report.json").read_text(encoding="utf-8"))
        for row in report["claims"]["decided"]:
            row["verdict"]["verdict"] = changes.get(row["verdict"]["claim"], row["verdict"]["verdict"])
        next(row for row in report["campaigns"][0]["gains"] if row["fresh"])["effect"]["mean"] += changes.get("gain", 0)
        (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
        return agreement(PUBLISHED, tmp_path)

    return copy


def test_the_last_line_says_what_agrees(changed):
    assert changed().endswith(f"{COUNT} of {COUNT} verdicts, gains within 0.0000")
    assert changed(gain=0.0003).endswith(f"{COUNT} of {COUNT} verdicts, gains within 0.0003")
    assert changed().startswith("agrees with the published run")


def test_a_verdict_that_differs_is_named(changed):
    told = changed(C02="contradicted")  # a claim of the printed tables: no training moves it
    assert told.startswith("differs from the published run") and f"{COUNT - 1} of {COUNT} verdicts" in told
    assert told.endswith("C02 was reproduced, is contradicted")
