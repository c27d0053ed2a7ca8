"""The report as files: report.json, CSV and extract from the archive; figures, HTML, Markdown and manifest from those.

Beside an extract lie what a stranger needs: `rows` as tables, `check.py`, which shares no code with us, and the crate.

Everything after report.json and the CSV files is a function of them, so a committed report can be drawn again without
its archive. The manifest is written last: a report without one was interrupted.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import jinja2
from markupsafe import Markup

from asiarc.archive import extract
from asiarc.archive.results import CampaignResult, Row
from asiarc.archive.store import Archive
from asiarc.campaign.identity import provenance
from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import Tier
from asiarc.report import answer, crate, facts, kernels, rows, studies, tables, wording
from asiarc.report.evidence import needs_of, reached
from asiarc.report.figures import draw, inline
from asiarc.report.within import summarise, tables_of
from asiarc.studies.arms import arm_lines

TEMPLATES, CHECK = Path(__file__).with_name("templates"), Path(__file__).with_name("check.py")
EXTRACT, SIGNATURE = "extract.jsonl.gz", "manifest.json.sig"
FIGURE = re.compile(r"figures/[A-Za-z0-9_-]+\.(csv|svg)")
LOCKS = ("uv.lock", "pylock.toml", "requirements.lock", "requirements.txt")

CAPTIONS = {
    "effects": "The winner's gain over each baseline by stage. Filled: fresh seeds and items, which chose nothing. "
    "Hollow: the seeds that helped to choose it, which flatter.",
    "curves": "Loss along training on fixed rows: mean over seeds, band from the lowest to the highest seed.",
    "population": "Every proposal in order, by the rung it reached; what was not scored stands at the foot.",
    "search": "The search as it went on (after the paper's Figures 1, 6 and 8): candidates with a gain above zero over "
    "CPU time, mean gain of the leading ones so far (ten, or a quarter), and sizes of the mixers proposed.",
    "components": "Choices of the grammar in the leading quarter of the scored candidates and in the rest (after the "
    "paper's Figure 7); those whose shares differ most. What differs beside them is not held fixed.",
    "lineage": "Who was made from whom; the heavy line leads to the winner.",
    "transfer": "Gain at one rung or stage against the gain at another; squares are baselines.",
    "tasks": "Mixers by tasks at this tier. The number is the mean over seeds, the shade its place in the column.",
    "forest": "Paired gains with intervals widened for all comparisons on the task. Blue: ahead. Red: behind. Grey: "
    "the interval holds zero.",
    "scatter": "Synthetic tasks against text, a point a mixer: what the rank correlation is taken over.",
    "discoveries": "Candidates that beat the start by 0.05 bits a byte on the first rung, along the search (after the "
    "paper's Figure 1): mean over repeats of each arm, band from the lowest to the highest repeat.",
}


def write(
    archive: Archive, tier: str, folder: Path, *, campaigns: Sequence[str] | None = None, cases: Sequence[Path] = ()
) -> Path:
    """Write the report of a tier into `folder` and return the path of its HTML file.

    Takes the latest finished run of each campaign (or of those named), else the latest. What is missing is said, never
    made up: no claims, no winner, no admitted candidate and unfinished stages all give a report. Files of an earlier
    report there are replaced. `cases` are files that rigs kept of theirs. Raises `EvidenceError` where those or the
    claim register cannot be read.
    """
    made_by = provenance()  # before a file changes: a report must not make its own checkout look changed
    _clear(folder)
    with in_words(f"the rows of the archive in {archive.folder}"):
        runs = gather(archive, tier, folder, campaigns=campaigns, written={**made_by, "lock": _lock(folder)})
    extract.save(archive, runs, folder / EXTRACT, tier=tier, campaigns=campaigns)
    rows.give(folder, cases)
    return render(folder)


def write_again(folder: Path, cases: Sequence[Path] = ()) -> Path:
    """Write a report again from its extract, or from its data where it is of the format without one; its HTML file.

    What claims say is the register's, as it stands in the checkout around it, and what they come to is what its
    deciders reach of the same rows, where they can; what captions say is this version's. `cases` are laid in the place
    of those that rigs had given; without any, those stay.
    """
    report = read_report(folder)
    if cases and report["format"] == facts.WITHOUT_EXTRACT:
        raise EvidenceError(f"{folder} is a report without rows, so that cases have no place; leave out --cases")
    if cases:
        rows.give(folder, cases)
    _decide_again(report, folder)
    if report["format"] == facts.WITHOUT_EXTRACT:
        for figure in figures_of(report):
            figure["caption"] = CAPTIONS[figure["kind"]]
        summarise(report)
        for files, _, told in tables_of(report):
            for file in files:
                tables.save(told, folder / file)
        claims = facts.in_todays_words(report["claims"], folder)
        (folder / "report.json").write_text(text_of({**report, "claims": claims}), encoding="utf-8")
    else:
        with in_words(f"{folder}: the rows of {EXTRACT}"), extract.opened(folder / EXTRACT) as kept:
            _clear(folder)
            asked, written = kept.head["campaigns"], report["provenance"]
            gather(kept.archive, report["tier"], folder, campaigns=asked, written=written, form=report["format"])
    return render(folder)


def _decide_again(report: dict[str, Any], folder: Path) -> None:
    """Verdicts as today's deciders reach them, in the report and in its extract."""
    reproductions = facts.project_folder(folder) / "reproductions"
    if not (reproductions / "claims.toml").exists():
        return
    stored, tier = [row["verdict"]["claim"] for row in report["claims"]["decided"]], cast("Tier", report["tier"])
    if report["format"] == facts.WITHOUT_EXTRACT:
        with tempfile.TemporaryDirectory() as name, Archive(Path(name)) as nothing:
            asked = [claim for claim in stored if not needs_of(reproductions).get(claim)]
            again = reached(nothing, tier, reproductions, asked)
        for row in report["claims"]["decided"]:
            row["verdict"] = again.get(row["verdict"]["claim"], row["verdict"])
    else:
        with in_words(f"{folder}: the rows of {EXTRACT}"), extract.opened(folder / EXTRACT) as rows:
            again = reached(rows.archive, tier, reproductions, stored)
        extract.with_verdicts(folder / EXTRACT, again)


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """What data of another form raise, wherever they are met, as an `EvidenceError` that says of what."""
    try:
        yield
    except (
        LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError, RuntimeError, OSError,
        sqlite3.Error, csv.Error, jinja2.TemplateError,
    ) as error:  # fmt: skip
        raise EvidenceError(
            f"{what} do not have the form that they are written in: {error!r}; write the report again, or take it from "
            "where it was published"
        ) from error


def _clear(folder: Path) -> None:
    """Remove what an earlier report left, its word that all is whole first."""
    for name in ("manifest.json", SIGNATURE):
        (folder / name).unlink(missing_ok=True)
    for old in (folder / "figures").glob("*"):
        if old.suffix in (".svg", ".csv"):
            old.unlink()


def gather(
    archive: Archive,
    tier: str,
    folder: Path,
    *,
    campaigns: Sequence[str] | None,
    written: Row,
    place: Path | None = None,
    form: int = facts.FORMAT,
) -> list[str]:
    """Save `report.json` and the CSV files in `folder`, and return the runs that they rest on.

    They are a function of the archive's rows, of `written` (who wrote the report, on what) and of the checkout around
    `place`, where the report lies or will lie: its register, its campaigns, its table of published signatures. One of
    an earlier format (`form`, with an extract) says what that format said.
    """
    place = place or folder
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    runs = facts.latest_runs(archive, tier, campaigns)
    readings = [CampaignResult.load(archive, row["run"]) for row in runs]
    arms = facts.arm_runs(archive, runs)
    baselines = facts.baseline_facts(facts.baseline_trials(archive, tier, readings))
    trained = studies.study_facts(archive, tier)
    searches = studies.search_facts(archive, tier)
    searched = studies.trained_runs(archive, tier)
    timed = [kernels.kernel_facts(archive, row) for row in kernels.latest_runs(archive, tier, campaigns)]
    found = {row["campaign"] for row in runs} | {row["identity"]["campaign"] for row in timed}
    report = {
        "format": form,
        "tier": tier,
        "claims": facts.claim_facts(archive, tier, place),
        "signatures": studies.signature_facts(trained, place),
        "studies": [{**study, "figures": _study_figures(archive, study, folder)} for study in trained],
        "searches": [{**search, "figures": _search_figures(search, folder)} for search in searches],
        "arms": arm_lines(archive, arms),
        "campaigns": [_campaign(*one, folder, place, form) for one in zip(readings, runs, strict=True)],
        **({"kernels": timed} if timed else {}),
        "absent": sorted(set(campaigns or ()) - found),
        "spend": facts.total_spend(archive, [*(r.run for r in readings), *searched]),
        "baselines": baselines,
        "figures": _save_table(tables.baselines_by_task(baselines["cells"]), folder, "baselines", "tasks"),
        "provenance": written,
    }
    (folder / "report.json").write_text(text_of(report), encoding="utf-8")
    table = [row["run"] for row in facts.baseline_runs(archive, tier)]
    told = [row["run"] for row in (*searches, *timed)]
    return [*(r.run for r in readings), *(run for _, _, run in arms), *searched, *told, *table]


def text_of(report: Row) -> str:
    """A report as `report.json` holds it."""
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _campaign(reading: CampaignResult, row: Row, folder: Path, place: Path, form: int) -> Row:
    """A run's facts, with the tables of its figures saved beside."""
    found = facts.campaign_facts(reading, row, place, form)
    figures: list[Row] = []
    for kind, table in tables.FIGURE_TABLES.items():
        figures += _save_table(table(reading, found), folder, row["campaign"], kind)
    return {**found, "figures": figures, "identity": row["identity"], "provenance": row["provenance"]}


def _study_figures(archive: Archive, study: Row, folder: Path) -> list[Row]:
    others = [task["name"] for task in study["tasks"] if task["name"] != "text"]
    rows = {
        "forest": studies.forest(study["effects"]),
        "curves": studies.curves(archive, study),
        "tasks": studies.heat(study) if len(study["tasks"]) > 1 else [],
        "scatter": studies.scatter(study["mixers"], others) if study["correlations"] else [],
    }
    return [row for kind, table in rows.items() for row in _save_table(table, folder, study["name"], kind)]


def _search_figures(search: Row, folder: Path) -> list[Row]:
    rows = {"forest": studies.forest(search["effects"]), "discoveries": studies.discoveries(search)}
    return [row for kind, table in rows.items() for row in _save_table(table, folder, search["name"], kind)]


def _save_table(rows: Sequence[Row], folder: Path, name: str, kind: str) -> list[Row]:
    if not rows:
        return []
    stem = f"figures/{tables.slug(name)}-{kind}"
    tables.save(rows, folder / f"{stem}.csv")
    return [{"kind": kind, "csv": f"{stem}.csv", "svg": f"{stem}.svg", "caption": CAPTIONS[kind]}]


def _lock(folder: Path) -> str:
    """The hash of the lock file of the checkout, where there is one."""
    files = [facts.project_folder(folder) / name for name in LOCKS]
    return next((f"{file.name} {sha256(file)}" for file in files if file.exists()), "")


def render(folder: Path, *, with_rows: bool = True) -> Path:
    """Figures, HTML, Markdown and manifest from `report.json` and the CSV files of `folder`; the HTML's path.

    With the rows of its extract, where it has one, as tables; reports from before there were any have none. Raises
    `EvidenceError` where they cannot be read.
    """
    report = read_report(folder)
    with in_words(f"{folder}: report.json or its tables"):
        return _render(folder, report, with_rows=with_rows and report["format"] != facts.WITHOUT_EXTRACT)


def _render(folder: Path, report: Row, *, with_rows: bool) -> Path:
    svgs = {}
    for figure in figures_of(report):
        svgs[figure["svg"]] = draw(figure["kind"], tables.load(folder / figure["csv"]))
        (folder / figure["svg"]).write_text(svgs[figure["svg"]] + "\n", encoding="utf-8")
    environment = _environment()
    shown = {"report": report, "svg": {name: Markup(inline(svg)) for name, svg in svgs.items()}}
    for name in ("report.html", "report.md"):
        (folder / name).write_text(environment.get_template(f"{name}.j2").render(shown), encoding="utf-8")
    if with_rows:
        rows.write(folder)
        (folder / CHECK.name).write_bytes(CHECK.read_bytes())
        crate.write(folder, report, signed_files(folder))
    hashes = {"rows": extract.hashes(folder / EXTRACT)} if with_rows else {}
    files = {path.relative_to(folder).as_posix(): sha256(path) for path in signed_files(folder)}
    told = json.dumps({**origins_of(report), **hashes, "files": files}, indent=1, ensure_ascii=False)
    (folder / "manifest.json").write_text(f"{told}\n", encoding="utf-8")
    return folder / "report.html"


def figures_of(report: Row) -> list[Row]:
    """Every figure of a report; `EvidenceError` for a file elsewhere than among the figures."""
    parts = [report, *report["studies"], *report["searches"], *report["campaigns"]]
    found = [figure for part in parts for figure in part["figures"]]
    for figure in found:
        if not (FIGURE.fullmatch(figure["csv"]) and FIGURE.fullmatch(figure["svg"])):
            raise EvidenceError(
                f"report.json names {figure['csv']!r} and {figure['svg']!r}: figures/NAME.csv and .svg are"
            )
    return found


def read_report(folder: Path) -> dict[str, Any]:
    """What `report.json` holds; `EvidenceError` where it is missing, damaged or of another format."""
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvidenceError(
            f"{path} cannot be read ({error.strerror}); write the report first: nox -s reproduce"
        ) from error
    except ValueError as error:
        raise EvidenceError(f"{path} is not JSON: {error}") from error
    except RecursionError as error:
        raise EvidenceError(f"{path} is nested too deeply to be a report; write it again: nox -s reproduce") from error
    if not isinstance(report, dict) or report.get("format") not in range(1, facts.FORMAT + 1):
        raise EvidenceError(f"{path} is not a report of format {facts.FORMAT}; write it again: nox -s reproduce")
    later = ("signatures", "studies", "searches", "arms", "kernels")  # parts that the first reports had not
    return report | {part: [] for part in later if part not in report}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= wording.FILTERS | {"per_scored": studies.per_scored}
    environment.globals |= wording.GLOBALS | answer.GLOBALS
    return environment


def sha256(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def signed_files(folder: Path) -> list[Path]:
    """Every file of a report but its manifest and that one's signature, in order."""
    unsigned = (folder / "manifest.json", folder / SIGNATURE)
    return sorted(path for path in folder.rglob("*") if path.is_file() and path not in unsigned)


def origins_of(report: Row) -> Row:
    """Where a report and its runs come from, as its manifest says."""
    kept = ("campaign", "seed", "created_at", "identity", "provenance")
    return {
        "format": report["format"],
        "tier": report["tier"],
        "written": report["provenance"],
        "runs": {
            row["run"]: {key: row["name" if key == "campaign" else key] for key in kept} for row in report["campaigns"]
        }
        | {
            row["run"]: {key: row["name" if key == "campaign" else key] for key in kept if key in row}
            | {"campaign": row["name"]}
            for row in [*report["studies"], *report["searches"], *report["kernels"]]
        },
    }
