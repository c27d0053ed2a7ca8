"""The committed evidence: whole, and nothing can be changed in it unseen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from asiarc.evidence.claims import VERDICTS
from asiarc.report.checks import verify
from asiarc.report.document import render
from asiarc.report.register import Register

ROOT = Path(__file__).parents[2]
REPRODUCTION = ROOT / "results" / "reproduction"
REPORTS = sorted(file.parent for file in (ROOT / "results").glob("*/*/manifest.json"))
QUICK = REPRODUCTION / "quick"
pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture
def copy(tmp_path):
    """The quick tier's evidence, to be spoilt."""
    return Path(shutil.copytree(QUICK, tmp_path / "quick"))


@pytest.mark.parametrize("folder", REPORTS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_committed_evidence_is_green(folder):
    assert verify(folder) == []


@pytest.mark.parametrize("name", [p.relative_to(QUICK).as_posix() for p in sorted(QUICK.rglob("*")) if p.is_file()])
def test_one_changed_byte_is_found(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    assert verify(copy), name


def test_a_missing_and_an_added_file_are_found(copy):
    for path in sorted(p for p in copy.rglob("*") if p.is_file()):
        kept = path.read_bytes()
        path.unlink()
        assert verify(copy), path
        path.write_bytes(kept)
    assert verify(copy) == []
    (copy / "figures" / "more.csv").write_text("a\n1\n")
    assert verify(copy) == ["figures/more.csv: not in the manifest"]


def test_every_changed_verdict_is_found_though_signed_again(copy):
    report = json.loads((copy / "report.json").read_text())
    decided = [row["verdict"] for row in report["claims"]["decided"]]
    decided = [verdict for verdict in decided if verdict["verdict"] != "not testable here"]
    assert len(decided) > 20
    for verdict in decided:
        verdict["verdict"] = next(name for name in VERDICTS if name not in (verdict["verdict"], "not testable here"))
    (copy / "report.json").write_text(json.dumps(report))
    render(copy)
    problems = verify(copy)
    told = {problem.partition(":")[0].partition(" ")[0] for problem in problems}
    assert {verdict["claim"] for verdict in decided} <= told


def test_a_report_of_an_earlier_register_is_held_against_its_words_and_no_others():
    register = Register.of(ROOT)
    (claim, words), *_ = register.former.items()
    entry = register.entry(claim) | words
    decided = {"claims": {"decided": [{"verdict": {"claim": claim}, "register": entry}], "open": []}}
    left = {"claims": {"decided": [], "open": [entry]}}
    for told in (decided, left):
        assert register.overtaken(told) == [claim]
    assert register.former_as_today(left)["claims"]["open"] == [register.entry(claim)]
    entry["counts_for"] = "whatever comes out"
    for told in (decided, left):
        assert register.overtaken(told) == []
    assert register.entry(claim).items() & words.items() != words.items(), "what is former is not today's"
