"""Studies, searches and signatures in the report: what is shown is what the deciders compute, finished or not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scipy import stats

from asiarc.archive.store import Archive
from asiarc.engineer.workshop import Workshop
from asiarc.report import check, studies
from asiarc.report.checks import verify
from asiarc.report.document import read_report, render, write
from asiarc.report.wording import remarks
from asiarc.studies import Search, Study

from ..reproductions.laboratory import Laboratory, load, noise

PUBLISHED = load("claim_published")
pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture
def folder(with_studies):
    """A report of three finished studies and one that was interrupted."""
    return with_studies


def study_of(folder, name):
    return next(study for study in read_report(folder)["studies"] if study["name"] == name)


def test_every_study_is_there_and_verified(folder):
    assert verify(folder) == check.main(folder) == []
    assert [s["name"] for s in read_report(folder)["studies"]] == ["parts", "survey", "mechanisms", "cut"]
    page, text = ((folder / name).read_text() for name in ("report.html", "report.md"))
    assert page.index('id="claims"') < page.index('id="signatures"') < page.index('id="studies"')
    for name in ("parts", "survey", "mechanisms"):
        assert f"Study {name}</h3>" in page and f"### Study {name}\n" in text
        assert study_of(folder, name)["effects"] or name == "survey"
        assert name == "survey" or (folder / "figures" / f"{name}-forest.svg").exists()
    assert (folder / "figures" / "survey-scatter.csv").exists() and (folder / "figures" / "survey-tasks.svg").exists()
    assert (folder / "figures" / "parts-curves.svg").exists()


def test_an_interrupted_study_says_so(folder):
    cut = study_of(folder, "cut")
    assert not cut["finished"] and 0 < cut["trials"] < cut["planned"] == 8
    assert "Study cut (not finished)" in (folder / "report.html").read_text()
    assert f"**{cut['trials']} of at most 8 trials so far" in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("rate", "grid", "said"),
    [
        (4e-3, (4e-3, 8e-3), "the grid's lowest rate"),
        (8e-3, (4e-3, 8e-3), "the grid's highest rate"),
        (8e-3, (4e-3, 8e-3, 1.6e-2), ""),
        (8e-3, (8e-3,), ""),
        (None, (4e-3, 8e-3), ""),
    ],
)
def test_a_rate_at_the_end_of_its_grid_says_so(rate, grid, said):
    mixer = {"rejected": "", "failed": {}, "probes": {}, "edge": studies.end_of_grid(rate, grid)}
    assert remarks(mixer) == said


def test_a_study_without_training_says_who_was_admitted():
    nothing = {"failed": {}, "probes": {}, "edge": ""}
    assert remarks({**nothing, "rejected": "", "admitted": True, "tasks": {}}) == "admitted"
    assert remarks({**nothing, "rejected": "", "admitted": True, "tasks": {"text": {}}}) == ""
    assert remarks({**nothing, "rejected": "causality", "admitted": False, "tasks": {}}) == "rejected by causality"


def test_every_trial_is_in_the_spend_and_every_rate_is_told(folder):
    report, parts = read_report(folder), study_of(folder, "parts")
    tuning = len(PUBLISHED.RATES) * len(parts["mixers"])
    assert parts["spent"]["trials"] == parts["trials"] + tuning
    told = (folder / "report.md").read_text()
    assert f"{parts['trials']} trials, {parts['scored']} scored, and {tuning} to choose learning rates" in told
    summed = sum(study["spent"]["trials"] for study in report["studies"])
    assert 0 < summed - report["spend"]["trials"] < 10, "DeltaNet's, which studies share, are counted once"
    assert {mixer["rate"] for mixer in parts["mixers"]} <= set(PUBLISHED.RATES)
    assert all(m["rate"] for m in study_of(folder, "mechanisms")["mixers"] if m["parameters"]), "the recipe's"


def test_effects_against_scipy(folder):
    parts = study_of(folder, "parts")
    by_name = {mixer["name"]: mixer["tasks"]["text"]["values"] for mixer in parts["mixers"]}
    for row in parts["effects"]:
        assert row["behind"] == "delta_net"
        gains = [by_name["delta_net"][seed] - value for seed, value in by_name[row["ahead"]].items()]
        alpha = 0.05 / len(parts["effects"])
        low, high = stats.t.interval(1 - alpha, len(gains) - 1, sum(gains) / len(gains), stats.sem(gains))
        found = row["effect"]
        assert (found["low"], found["high"], found["n"]) == (pytest.approx(low), pytest.approx(high), 6)


def test_an_ablation_is_compared_with_what_it_is_taken_from(folder):
    pairs = {(row["ahead"], row["behind"]) for row in study_of(folder, "mechanisms")["effects"]}
    assert ("sharp, no temperature", "sharp") in pairs and ("sharp", "delta_net") in pairs
    assert ("sharp, no temperature", "delta_net") not in pairs
    assert "entropy 0.5" in (folder / "report.md").read_text()


def test_the_correlation_is_scipys_and_the_deciders(folder):
    survey = study_of(folder, "survey")
    points = studies.scatter(survey["mixers"], PUBLISHED.MAD)
    assert len(points) == len(survey["mixers"]) - 1, "the rejected one is left out"
    rho = stats.spearmanr([-p["text"] for p in points], [p["mean"] for p in points]).statistic
    together = survey["correlations"][0]
    assert together["correlation"]["rho"] == pytest.approx(rho) and together["correlation"]["n"] == len(points) > 30
    assert {row["task"] for row in survey["correlations"][1:]} == set(PUBLISHED.MAD)
    (row,) = (row for row in read_report(folder)["signatures"] if row["study"] == "survey")
    assert row["ours"]["mean"] == pytest.approx(rho) and row["published"].endswith("no coefficient printed")


def test_signatures_stand_beside_the_published_numbers(folder):
    found = {row["what"]: row for row in read_report(folder)["signatures"]}
    convolution = found["Short convolution over none, text"]
    assert "28.24" in convolution["published"] and convolution["unit"] == "gain in bits a byte"
    missing = found["DeltaNet, memorisation (MAD)"]
    assert missing["ours"] is None and missing["problem"] == "study mad has not run at this tier"
    assert "study mad has not run at this tier" in (folder / "report.html").read_text()


def test_every_signature_names_what_a_study_trains():
    declared = {n: s for m in (PUBLISHED, load("claim_headlines")) for n, s in vars(m).items() if isinstance(s, Study)}
    for row in studies.signature_facts([], Path("results")):
        study = declared[row["study"]]
        assert {row.get("mixer", "delta_net"), row.get("behind", "delta_net")} <= set(study.mixers), row
        assert row.get("task", "text") in study.tasks, row


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r'("low": )(-?\d\.\d+)', r"\g<1>-9.5"),
        (r'("study/0": )(\d\.\d+)', r"\g<1>1.75"),
        (r'("rho": )(-?\d\.\d+)', r"\g<1>0.125"),
    ],
)
def test_a_changed_number_is_found_though_signed_again(folder, tmp_path, old, new):
    report = read_report(folder)
    text = re.sub(old, new, json.dumps(report["studies"]), count=1)
    assert text != json.dumps(report["studies"])
    copy = tmp_path / "full"
    (copy / "figures").mkdir(parents=True)
    for path in (folder / "figures").glob("*.csv"):
        (copy / "figures" / path.name).write_bytes(path.read_bytes())
    (copy / "extract.jsonl.gz").write_bytes((folder / "extract.jsonl.gz").read_bytes())
    (copy / "report.json").write_text(json.dumps(report | {"studies": json.loads(text)}))
    render(copy)
    assert verify(copy)


# --- searches ---------------------------------------------------------------------------------------------------------


class Anyone(Laboratory):
    """A laboratory that takes every candidate; what it is worth hangs on its address."""

    def __init__(self):
        super().__init__({}, lambda name, task, seed: 2.5 + noise(name, task, seed, 0.1))

    def answer(self, job):
        from asiarc.core.candidate import content_address

        address = content_address(job.payload["source"])
        self.names.setdefault(address, address)
        return super().answer(job)


def test_arms_are_one_section_and_no_campaigns(tmp_path, monkeypatch):
    fake = {"fingerprint": [1.0]}
    monkeypatch.setattr(Workshop, "fingerprints", lambda self, sources, recipe: dict.fromkeys(sources, fake))
    search = Search(arms=("full", "random"), repeats=2, candidates=4)
    with Archive(tmp_path / "store") as archive:
        search._announce("arms", "full", archive)
        write(archive, "full", tmp_path / "before")
        assert "Search arms (not finished)" in (tmp_path / "before" / "report.md").read_text()
        result = search.run("arms", "full", archive, Workshop(archive, Anyone()), lambda _: None)
        for tier in ("quick", "full"):
            write(archive, tier, tmp_path / tier)
        effect = result.advantage("full", "random")
    assert read_report(tmp_path / "quick")["campaigns"] == [], "explored at quick, told with the search"
    report = read_report(tmp_path / "full")
    assert report["campaigns"] == report["studies"] == [] and verify(tmp_path / "full") == []
    (found,) = report["searches"]
    assert found["finished"] and found["effects"][0]["effect"]["mean"] == pytest.approx(effect.mean)
    assert (tmp_path / "full" / "figures" / "arms-discoveries.csv").read_text().count("\n") == 1 + 2 * 2 * 4
