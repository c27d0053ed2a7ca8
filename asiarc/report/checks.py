"""Verification of a written report: everything in it is made again from what it rests on, and compared.

Ground are the rows of the archive that lie beside it (`extract.jsonl.gz`), and those are held against each other first
(`ground`): a trial's value against its items, a stage's result against its trials, a run's name against its
declaration. From them report.json and its tables are gathered again, the claims decided again, and from report.json the
documents and figures rendered again. A report of the format that had no extract gives what it can (`within`).

That the trials were run at all is nothing that a file can show; whose word it is, its signature says.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import cast

from asiarc.archive.extract import Extract, opened
from asiarc.archive.results import Row
from asiarc.archive.secret import read_secret
from asiarc.archive.store import Archive
from asiarc.core.errors import AsiarcError, EvidenceError
from asiarc.core.recipe import Tier
from asiarc.evidence.claims import Verdict, check_snapshot
from asiarc.report import facts, ground, rows, signature, within
from asiarc.report.compare import differences
from asiarc.report.document import (
    EXTRACT,
    figures_of,
    gather,
    in_words,
    read_report,
    render,
    sha256,
    signed_files,
    text_of,
)
from asiarc.report.evidence import decided_again, needs_of
from asiarc.report.register import Register

ANOTHER = "if another version wrote it: asiarc report --again"
SHOWN = 20  # differences that are told of one file


@dataclass
class Verification:
    """What a verification came to: what does not hold, what was derived and compared, and what no file proves."""

    problems: list[str] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)


def verify(folder: Path) -> list[str]:
    """The problems of a written report as readable lines; none when all is what it rests on gives."""
    return examine(folder).problems


def examine(folder: Path, signers: Path | None = None, key: Path | None = None) -> Verification:
    """Everything that can be asked of a report; `signers` is a file of keys that may sign it (`signature`), `key` that
    of the secret that its seeds were drawn with, once it is told."""
    found = Verification()
    for question in (_files, _signed, _data):
        try:
            with in_words(f"{folder}: report.json, its tables or its extract"):
                question(folder, signers, found)
        except AsiarcError as error:
            found.problems.append(str(error))
    if key is not None and not found.problems:
        with opened(folder / EXTRACT) as extract:
            found.problems += islice(ground.unsealed(extract.archive, read_secret(key)), SHOWN)
        found.compared.append("the seeds of verify and confirm with the secret that the runs committed to")
    found.unproved.append(
        "that the trials were run as recorded, when and on the machine that is named: only running them again shows it"
    )
    return found


# --- files ------------------------------------------------------------------------------------------------------------


def _files(folder: Path, _: Path | None, found: Verification) -> None:
    path = folder / "manifest.json"
    try:
        signed = dict(json.loads(path.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvidenceError(
            f"{path} cannot be read ({error!r}): the report was interrupted or is not one; write it again"
        ) from error
    present = {file.relative_to(folder).as_posix(): file for file in signed_files(folder)}
    for name in sorted(signed.keys() | present.keys()):
        if name not in present:
            found.problems.append(f"{name}: in the manifest, but missing")
        elif name not in signed:
            found.problems.append(f"{name}: not in the manifest")
        elif (sha := sha256(present[name])) != signed[name]:
            found.problems.append(f"{name}: SHA-256 is {sha[:12]}…, the manifest has {str(signed[name])[:12]}…")
    found.compared.append(f"{len(present)} files with their checksums in manifest.json")


def _signed(folder: Path, signers: Path | None, found: Verification) -> None:
    who = signature.signer(folder, signers)
    if who:
        found.compared.append(f"the signature of manifest.json: {who}")
    else:
        found.unproved.append(f"who answers for it: manifest.json is not signed ({signature.HOW})")


# --- data -------------------------------------------------------------------------------------------------------------


def _data(folder: Path, _: Path | None, found: Verification) -> None:
    report = read_report(folder)
    if found.problems:
        found.unproved.append("all that its files say: they have to be those that the manifest lists first")
        return
    text = (folder / "report.json").read_text(encoding="utf-8")
    if text != text_of(json.loads(text)):
        found.problems.append("report.json: not the text that its data are written as (a key twice, other spaces)")
    _rendering(report, folder, found)
    register = Register.of(facts.project_folder(folder))
    if report["format"] != facts.WITHOUT_EXTRACT:
        with opened(folder / EXTRACT) as extract:
            _derived(report, folder, extract, register, found)
    else:
        _without_extract(report, folder, register, found)
    if register is None:
        found.unproved.append("the claims' own words: no register (reproductions/claims.toml) here")
    else:
        _register(report, register, found)


def _rendering(report: Row, folder: Path, found: Verification) -> None:
    """Documents, figures and manifest against those that the same data give now; and no file beyond."""
    tables = [figure["csv"] for figure in figures_of(report)]
    with tempfile.TemporaryDirectory() as name:
        again = Path(name)
        (again / "figures").mkdir()
        with_rows = "rows" in json.loads((folder / "manifest.json").read_bytes())
        kept = [EXTRACT] if report["format"] != facts.WITHOUT_EXTRACT else []
        kept += [rows.TRIALS, rows.CASES] if with_rows else []  # left as they are where they hold what they should
        kept += [rows.GIVEN] if (folder / rows.GIVEN).exists() else []
        for file in ("report.json", *kept, *tables):
            (again / file).write_bytes((folder / file).read_bytes())
        render(again, with_rows=with_rows)
        made = {path.relative_to(again).as_posix(): path for path in [*signed_files(again), again / "manifest.json"]}
        for file, path in made.items():
            told = file == "manifest.json" and found.problems  # of what it lists
            if (folder / file).is_file() and (folder / file).read_bytes() != path.read_bytes() and not told:
                found.problems.append(f"{file}: {_first_line((folder / file), path)}")
        beyond = {path.relative_to(folder).as_posix() for path in signed_files(folder)} - made.keys()
        found.problems += [f"{file}: no part of the report" for file in sorted(beyond)]
    found.compared.append(
        f"report.html, report.md and {len(tables)} figures, rendered again from report.json and its tables"
    )
    if with_rows:
        found.compared.append(f"{rows.TRIALS} and {rows.CASES}, row by row, made again from {EXTRACT}")
    elif kept:
        found.unproved.append("anything to who has no asiarc: no rows beside it (asiarc report --again writes them)")


def _first_line(stored: Path, rendered: Path) -> str:
    """Where a file parts from what it should be."""
    sides = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (stored, rendered))
    for number, (mine, due) in enumerate(zip_longest(*sides, fillvalue=""), 1):
        if mine != due:
            at = next((i for i, (a, b) in enumerate(zip(mine, due, strict=False)) if a != b), min(len(mine), len(due)))
            cut = slice(max(0, at - 20), at + 40)
            return f"line {number} has {mine[cut]!r}, its data give {due[cut]!r} ({ANOTHER})"
    return "not what its data give"


def _derived(report: Row, folder: Path, extract: Extract, register: Register | None, found: Verification) -> None:
    """The extract's rows against each other; report.json, its tables and its verdicts against the rows."""
    found.problems += islice(ground.problems(extract), SHOWN)
    scored = len(extract.values)
    found.compared.append(f"the values of {scored:,} trials from {extract.items:,} results of single items")
    found.compared += ground.COMPARED
    if extract.head["tier"] != report["tier"]:
        found.problems.append(f"{EXTRACT}: of tier {extract.head['tier']!r}, the report of {report['tier']!r}")
    with tempfile.TemporaryDirectory() as name:
        again, said = Path(name), report["provenance"]
        gather(
            extract.archive, report["tier"], again, campaigns=extract.head["campaigns"], written=said, place=folder,
            form=report["format"],
        )  # fmt: skip
        due = read_report(again)
        now = register.former_as_today(report) if register else report
        found.problems += _some(differences(now, due), "report.json")
        for file in sorted({figure["csv"] for figure in [*figures_of(report), *figures_of(due)]}):
            found.problems += _some(differences(_cells(folder / file), _cells(again / file)), file)
    found.compared.append(f"report.json and {len(figures_of(due))} tables, gathered again from the rows of {EXTRACT}")
    found.unproved.append("what provenance says of machine, commit and command")
    if register:
        _verdicts(extract.archive, report, register, found)


def _without_extract(report: Row, folder: Path, register: Register | None, found: Verification) -> None:
    found.problems += within.problems(report, folder)
    found.compared.append("means, intervals, comparisons, effects, orders and sums from the values of trials")
    found.unproved.append("the values of trials: no extract, they are as committed, not derived")
    if register:
        with tempfile.TemporaryDirectory() as name, Archive(Path(name)) as archive:
            _verdicts(archive, report, register, found, without_rows=True)


def _some(told: Iterator[str], file: str) -> Iterator[str]:
    yield from (f"{file}: {line}" for line in islice(told, SHOWN))
    if more := sum(1 for _ in told):
        yield f"{file}: {more} more"


def _cells(path: Path) -> list[list[float | str]]:
    """A CSV file's rows, numbers as numbers; of a file that is not there, none."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [[_cell(text) for text in row] for row in csv.reader(file)]


def _cell(text: str) -> float | str:
    try:
        return float(text) if not text.lstrip("-").isdigit() else text
    except ValueError:
        return text


# --- claims -----------------------------------------------------------------------------------------------------------


def _register(report: Row, register: Register, found: Verification) -> None:
    """Every claim of the register, as it stands there; verdicts as last accepted, where the checkout has any."""
    claims = report["claims"]
    told = [row["register"] or {"id": row["verdict"]["claim"]} for row in claims["decided"]] + claims["open"]
    ids = [claim["id"] for claim in told]
    former = register.overtaken(report)
    if former:
        found.unproved.append(f"{', '.join(former)}: asked otherwise since this was made; told here in former words")
    found.problems += [f"{c}: in the register, missing in the report" for c in register.claims if c not in ids]
    for claim in told:
        due = register.entry(claim["id"])
        if due is None:
            found.problems.append(f"{claim['id']}: no claim of the register")
        elif claim["id"] not in former:
            found.problems += [f"{claim['id']}: {line} (the register)" for line in differences(claim, due)]
    found.problems += [f"{row['verdict']['claim']}: of tier {row['verdict']['tier']!r}" for row in claims["decided"]
                       if row["verdict"]["tier"] != report["tier"]]  # fmt: skip
    if (register.folder / "verdicts.toml").exists():
        verdicts = [Verdict(**row["verdict"]) for row in claims["decided"]]
        drifts = check_snapshot(verdicts, register.folder / "verdicts.toml")
        found.problems += [drift.explain() for drift in drifts if drift.recorded is not None]
    found.compared.append(f"{len(register.claims)} claims of the register in its words, and the verdicts last accepted")


def _verdicts(
    archive: Archive, report: Row, register: Register, found: Verification, *, without_rows: bool = False
) -> None:
    """Verdicts against those that their deciders reach again from an archive.

    What cannot be: of a study whose code has moved on since; and, of an archive without rows, of whatever ran.
    """
    told = {row["verdict"]["claim"]: row["verdict"] for row in report["claims"]["decided"]}
    needs = needs_of(register.folder)
    ran = {
        row["name"] for row in (*report["studies"], *report["searches"], *(report["campaigns"] if without_rows else ()))
    }
    away = set(register.overtaken(report))
    away |= {c for c in told if ran & set(re.findall(r"(?:campaign|study) (\w+)", needs.get(c, "")))}
    asked = [claim for claim in told if not (without_rows and needs.get(claim))]
    again = decided_again(archive, cast("Tier", report["tier"]), register.folder, asked) if asked else {}
    reached, lost = 0, []
    for claim, verdict in told.items():
        due = again[claim].as_dict() if claim in again else {"verdict": "not testable here"}
        if due["verdict"] != "not testable here":
            reached += 1
            due |= {"registered": verdict["registered"]} if "registered" in verdict else {}  # of the run, not decided
            found.problems += [f"{claim}: {line}" for line in differences(verdict, due)]
        elif verdict["verdict"] != "not testable here":
            if claim in away:
                lost.append(claim)
            else:
                found.problems.append(f"{claim}: {verdict['verdict']!r} by nothing that the report holds")
    found.compared.append(f"{reached} of {len(told)} verdicts, reached again by their deciders")
    if lost:
        found.unproved.append(f"verdicts that cannot be reached again from what is here: {', '.join(lost)}")
