"""Whole reports: complete where little is there, safe where candidates are hostile, caught where they were changed."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from asiarc.archive.store import Archive
from asiarc.campaign.identity import provenance
from asiarc.core.candidate import content_address
from asiarc.core.errors import EvidenceError
from asiarc.core.outcome import Outcome
from asiarc.models.baselines import baseline_source
from asiarc.report import render, verify, write
from asiarc.report.document import sha256

from .conftest import STEPS

HOSTILE = 'x</td></svg><script>alert(1)</script>|`*_$\\frac$ [a](javascript:1) <img src=x onerror=1> \x07 naïve漢字 "q"'
VOID = {"meta", "br", "img", "link", "input", "wbr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; tags that do not nest are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        self.text += data


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_a_whole_campaign_is_green_and_complete(written):
    assert verify(written) == []
    page = page_of(written)
    for heading in (
        "Claims",
        "What ran",
        "The winner",
        "Selection and fresh seeds",
        "Stage confirm",
        "Stage verify",
        "Stage explore",
        "turned away",
        "Transfer",
        "What the analyst wrote",
        "Where design elements came from",
        "Baselines by tasks",
        "Provenance",
    ):
        assert heading in page.text, heading
    assert page.text.index("Campaign delta_text") < page.text.index("C29")
    figures = {path.stem for path in (written / "figures").glob("*.svg")}
    assert figures == {path.stem for path in (written / "figures").glob("*.csv")}
    assert {f"delta_text-{kind}" for kind in ("curves", "population", "lineage", "transfer", "effects")} < figures
    assert sum(tag == "svg" for tag, _ in page.tags) == len(figures)


def test_the_page_needs_nothing_from_outside(written):
    page = page_of(written)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert "src" not in attributes and not any(name.startswith("on") for name in attributes), tag
        for name in ("href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith("#") or (written / target).is_file(), target
    style = re.sub(r"url\(#[\w-]+\)", "", (written / "report.html").read_text())
    assert "url(" not in style and "@import" not in style


def test_markdown_says_the_same_numbers(written):
    report = json.loads((written / "report.json").read_text())
    markdown, html = (written / "report.md").read_text(), page_of(written).text
    (campaign,) = report["campaigns"]
    for gain in campaign["gains"]:
        shown = f"{gain['effect']['mean']:+.4f}"
        assert shown in markdown and shown in html
    for figure in [*report["figures"], *campaign["figures"]]:
        assert f"]({figure['svg']})" in markdown
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    assert sum(token.type == "table_open" for token in tokens) >= 9


def test_the_same_archive_gives_the_same_bytes(bench, tmp_path):
    built = bench()
    built.fill([0.0, 0.1, 0.05, 0.2], stages=("explore", "verify"))
    folders = [tmp_path / "a" / "quick", tmp_path / "b" / "quick"]
    for folder in folders:
        write(built.archive, "quick", folder)
    first, second = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*.[sc]*") if p.is_file()} for f in folders)
    assert first == second and any(path.suffix == ".svg" for path in first)


def test_render_draws_the_same_from_the_files_alone(written, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(written, copy)
    for path in [*copy.rglob("*.svg"), copy / "report.html", copy / "report.md", copy / "manifest.json"]:
        path.unlink()
    render(copy)
    assert {p.relative_to(copy): p.read_bytes() for p in copy.rglob("*") if p.is_file()} == {
        p.relative_to(written): p.read_bytes() for p in written.rglob("*") if p.is_file()
    }


def test_figures_take_the_readers_colour_and_carry_no_date(written):
    for path in (written / "figures").glob("*.svg"):
        text = path.read_text()
        assert "currentColor" in text and "prefers-color-scheme:dark" in text
        assert "<dc:date>" not in text and "#000000" not in text and "#ffffff" not in text.lower(), path.name


# --- little is there --------------------------------------------------------------------------------------------------


def test_an_empty_archive_gives_a_report(archive, tmp_path):
    write(archive, "full", tmp_path / "full", campaigns=["ghost"])
    text = page_of(tmp_path / "full").text
    assert verify(tmp_path / "full") == []
    assert "No claim has been decided" in text and "ghost" in text and "no run at this tier" in text


def nothing_started(built):
    built.start()


def all_rejected(built):
    built.start(3)
    built.baselines("explore", 2, STEPS, ("text", "reset"))
    for number in range(3):
        address = built.propose(number, f"leaky {number}")
        built.archive.add_result(
            built.run, number, address, Outcome("rejected", "not causal", "causality"), rung=-1, gain=None, scores={}
        )
    built.archive.finish_stage(built.run, "explore", {"entrants": [], "finalists": [], "candidates": 3})
    built.stage("verify", [], {}, 3, ("text", "reset"))
    built.archive.finish_stage(built.run, "confirm", {"entrants": [], "winner": None})


def explore_only(built):
    built.fill([0.1, 0.0, 0.2, 0.05], stages=("explore",))


def interrupted_in_explore(built):
    built.start()
    built.baselines("explore", 2, 60, ("text",))
    address = built.propose(0, "alone")
    built.trial(address, "text", "explore", 0, 60, 0.1)


def interrupted_before_confirm(built):
    built.fill([0.1, 0.0, 0.2, 0.05], stages=("explore", "verify"))
    identity = built.archive.run(built.run)
    assert identity is not None


def baselines_failed(built):
    built.start()
    built.trial(
        content_address(baseline_source("delta_net")),
        "text",
        "explore",
        0,
        60,
        0.0,
        outcome=Outcome("crashed", "no memory"),
    )


@pytest.mark.parametrize(("fill", "says"), [
    (nothing_started, "explore is not finished"), (all_rejected, "no candidate was scored in verify"),
    (explore_only, "declares explore only"), (interrupted_in_explore, "explore is not finished"),
    (interrupted_before_confirm, "nothing is decided"), (baselines_failed, "explore is not finished"),
])  # fmt: skip
def test_a_campaign_with_parts_missing_gives_a_sensible_report(bench, tmp_path, fill, says, drawn_once):
    built = bench()
    fill(built)
    write(built.archive, "quick", tmp_path / "quick")
    assert verify(tmp_path / "quick") == []
    assert says in page_of(tmp_path / "quick").text
    assert says in (tmp_path / "quick" / "report.md").read_text()


def test_without_a_decision_nothing_is_called_better(bench, tmp_path):
    built = bench()
    built.fill([0.001, 0.0, 0.002, -0.001])
    write(built.archive, "quick", tmp_path / "quick")
    (campaign,) = json.loads((tmp_path / "quick" / "report.json").read_text())["campaigns"]
    assert "better" not in {gain["decision"] for gain in campaign["gains"]}
    register = r"<details><summary>\d+ claims?.*?</details>"  # the paper's own sentences
    html = re.sub(register, "", (tmp_path / "quick" / "report.html").read_text(), flags=re.DOTALL)
    assert "better" not in html.lower()
    for path in (tmp_path / "quick" / "figures").iterdir():
        assert "better" not in path.read_text().replace("higher_is_better", ""), path.name


def test_what_it_was_made_by_is_read_before_a_file_changes(bench, tmp_path, monkeypatch):
    built, folder = bench(), tmp_path / "quick"
    built.start()
    write(built.archive, "quick", folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    seen = []

    def looking():
        seen.append({path: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
        return provenance()

    monkeypatch.setattr("asiarc.report.document.provenance", looking)
    write(built.archive, "quick", folder)
    assert seen == [before]


def test_an_earlier_report_is_replaced(bench, tmp_path):
    built = bench()
    built.start()
    stale = tmp_path / "quick" / "figures" / "gone-curves.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("<svg/>")
    write(built.archive, "quick", tmp_path / "quick")
    assert not stale.exists() and verify(tmp_path / "quick") == []


# --- hostile candidates -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def hostile(tmp_path_factory, bench_class):
    folder = tmp_path_factory.mktemp("hostile")
    with Archive(folder / "store") as archive:
        fill_with_hostile_text(bench_class(archive))
        write(archive, "quick", folder / "quick")
    return folder / "quick"


def fill_with_hostile_text(built):
    built.start(2, tasks=("text",))
    for steps in built.rungs:
        built.baselines("explore", 2, steps, ("text",))
    source = f'"""``` {HOSTILE.encode("ascii", "ignore").decode().translate({34: 39, 92: 47, 7: 32})}\n````"""\nA = 1\n'
    address = content_address(source)
    built.archive.add_candidate(address, HOSTILE, source, HOSTILE)
    built.archive.add_proposal(built.run, 0, 0, {
        "address": address, "name": HOSTILE, "motivation": HOSTILE, "parents": [HOSTILE], "predicted": HOSTILE,
        "origins": [{"element": HOSTILE, "kind": "original", "reference": HOSTILE}],
    })  # fmt: skip
    built.archive.add_insight(built.run, 0, 0, address, {"text": HOSTILE, "weakness": HOSTILE, "mechanisms": []})
    for seed in range(2):
        built.trial(address, "text", "explore", seed, STEPS, 0.1)
    gain = built.gain(address, "explore", STEPS)
    built.archive.add_result(built.run, 0, address, Outcome("scored"), rung=1, gain=gain, scores={})
    explored = {"entrants": [address], "finalists": [address], "candidates": 2}
    built.archive.finish_stage(built.run, "explore", explored)
    built.later_stages([address], {address: 0.1}, ("verify", "confirm"), 3, ("text",))
    other = built.propose(1, "=cmd|x!A1", motivation="")
    built.archive.add_result(
        built.run, 1, other, Outcome("rejected", HOSTILE, "causality"), rung=-1, gain=None, scores={}
    )


def test_text_of_candidates_stays_text_in_html(hostile):
    page = page_of(hostile)
    assert verify(hostile) == []
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert(1)</script>") >= 6  # shown, in every place, as written
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_text_of_candidates_stays_text_in_markdown(hostile):
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render((hostile / "report.md").read_text())
    page = Page(rendered)
    assert "script" not in {tag for tag, _ in page.tags}
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert images and all(str(image["src"]).startswith("figures/") for image in images)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert all(str(link).startswith("figures/") for link in links)
    assert "alert(1)" in page.text


def test_names_in_figures_are_harmless_and_in_spreadsheets_too(hostile):
    for path in (hostile / "figures").glob("*.svg"):
        assert "<script" not in path.read_text() and "onerror" not in re.sub(r">[^<]*<", "><", path.read_text())
    with (hostile / "figures" / "delta_text-population.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["name"] == "'=cmd|x!A1"


# --- a report that is damaged -----------------------------------------------------------------------------------------


DAMAGED = ["", "[]", "{", '{"format": 99}', '{"files": 3}', "[" * 100_000]


@pytest.mark.parametrize("content", DAMAGED, ids=["nothing", "list", "cut", "later", "manifest", "deep"])
def test_damaged_files_are_told_and_raise_nothing(tmp_path, content):
    for name in ("report.json", "manifest.json"):
        (tmp_path / name).write_text(content)
    assert len(verify(tmp_path)) >= 2
    with pytest.raises(EvidenceError, match=r"report\.json"):
        render(tmp_path)


def file_elsewhere(report):
    report["campaigns"][0]["figures"][0]["svg"] = "../outside.svg"


def figure_of_no_kind(report):
    report["figures"][0]["kind"] = "pie"


def number_that_is_text(report):
    report["campaigns"][0]["stages"][0]["rows"][0]["tasks"]["text"]["mean"] = "two"


def part_missing(report):
    del report["campaigns"][0]["spec"]


def other_types(report):
    report["campaigns"] = {"a": None}


@pytest.mark.parametrize(
    "spoil",
    [file_elsewhere, figure_of_no_kind, number_that_is_text, part_missing, other_types],
    ids=lambda spoil: spoil.__name__,
)
def test_data_of_another_form_are_told_and_write_nothing_elsewhere(written, tmp_path, spoil, drawn_once):
    copy = Path(shutil.copytree(written, tmp_path / "copy"))
    report = json.loads((copy / "report.json").read_text())
    spoil(report)
    (copy / "report.json").write_text(json.dumps(report))
    with pytest.raises(EvidenceError, match=r"do not have the form|figures/NAME"):
        render(copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["report.json"] = sha256(copy / "report.json")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert verify(copy) and {path.name for path in tmp_path.iterdir()} == {"copy"}


def test_no_report_at_all_is_told(tmp_path):
    assert any("report.json cannot be read" in problem for problem in verify(tmp_path))
