"""The committed evidence: whole, and nothing can be changed in it unseen."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from asiarc.evidence.claims import VERDICTS, load_register
from asiarc.report import checks
from asiarc.report.checks import verify
from asiarc.report.document import render

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
    reproductions = ROOT / "reproductions"
    register, former = load_register(reproductions / "claims.toml"), reproductions / "former.toml"
    (claim, words), *_ = tomllib.loads(former.read_text(encoding="utf-8")).items()
    entry = register[claim].model_dump() | words
    decided = {"claims": {"decided": [{"verdict": {"claim": claim}, "register": entry}], "open": []}}
    left = {"claims": {"decided": [], "open": [entry]}}
    for told in (decided, left):
        assert checks.overtaken(told, reproductions) == [claim]
    entry["counts_for"] = "whatever comes out"
    for told in (decided, left):
        assert checks.overtaken(told, reproductions) == []
    assert register[claim].model_dump().items() & words.items() != words.items(), "what is former is not today's"
