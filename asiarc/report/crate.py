"""The logbook of a run as open-reproduction reviewers and archives read it: RO-Crate 1.2, in `ro-crate-metadata.json`.

Every file with its size and checksum; every run as an action with its campaign, seed, commit and the packages that it
ran with; every decided claim as an assertion of the paper with the verdict on it.
Source: https://w3id.org/ro/crate/1.2.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
NAME, VERSION = "ro-crate-metadata.json", "https://w3id.org/ro/crate/1.2"
PAPER, TITLE = "https://arxiv.org/abs/2507.18074", "AlphaGo Moment for Model Architecture Discovery"
LICENCE = "https://spdx.org/licenses/Apache-2.0"
IS = {
    "extract.jsonl.gz": "the rows of the archive, one JSON line each; per-item results",
    "rows.parquet": "one row a trial: program, recipe, seed, score, per-item results, spend",
    "cases.parquet": "one row a case of every rate: what was asked, expected and found",
    "cases.jsonl": "cases of rates that rigs measure: cheats, attacks, mutants, faults",
    "check.py": "recomputes what the report says from the rows, with Python's standard library alone",
    "report.json": "what the report says, as data",
}


def write(folder: Path, report: Row, files: Sequence[Path]) -> None:
    """Write the crate of a report's `files`; a function of them and of the report, so the same again."""
    listed = [path for path in files if path.name != NAME]
    graph = [*_root(folder, report, listed), *_actions(report), *_claims(report)]
    text = json.dumps({"@context": f"{VERSION}/context", "@graph": graph}, indent=1, ensure_ascii=False)
    (folder / NAME).write_text(f"{text}\n", encoding="utf-8")


def _root(folder: Path, report: Row, files: Sequence[Path]) -> Iterator[Row]:
    runs = [*report["campaigns"], *report["studies"], *report["searches"]]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    yield {"@id": NAME, "@type": "CreativeWork", "conformsTo": {"@id": VERSION}, "about": {"@id": "./"}}
    yield {
        "@id": "./", "@type": "Dataset", "name": f"asiarc reproduction at tier {report['tier']}",
        "description": f"Runs, rows and verdicts at tier {report['tier']}; python check.py says whether they agree.",
        "datePublished": max((run["created_at"] for run in runs), default="1970-01-01")[:10],
        "license": {"@id": LICENCE}, "isBasedOn": {"@id": PAPER},
        "hasPart": [{"@id": name} for name in names],
        "mentions": [{"@id": part["@id"]} for part in (*_actions(report), *_claims(report))],
    }  # fmt: skip
    yield {"@id": LICENCE, "@type": "CreativeWork", "name": "Apache License 2.0"}
    yield {"@id": PAPER, "@type": "ScholarlyArticle", "name": TITLE}
    for name, path in names.items():
        content = path.read_bytes()
        kind = {"encodingFormat": kind} if (kind := mimetypes.guess_type(name)[0]) else {}
        told = {"description": IS[name]} if name in IS else {}
        sha = {"contentSize": str(len(content)), "sha256": hashlib.sha256(content).hexdigest()}
        yield {"@id": name, "@type": "File", "name": name, **sha, **kind, **told}


def _actions(report: Row) -> list[Row]:
    made_by = report["provenance"].get("packages", {})
    parts = {"campaign": report["campaigns"], "study": report["studies"], "search": report["searches"]}
    return [
        {"@id": f"#run-{one['run']}", "@type": "CreateAction", "name": f"{kind} {one['name']} at tier {one['tier']}",
         "startTime": one["created_at"], "result": {"@id": "extract.jsonl.gz"},
         "identifier": one["run"], "description": json.dumps({
             "seed": one.get("seed"), "commit": one["provenance"].get("git_commit"), "packages": made_by,
             "command": one["provenance"].get("command")})}
        for kind, some in parts.items() for one in some
    ]  # fmt: skip


def _claims(report: Row) -> list[Row]:
    return [
        {"@id": f"#claim-{row['verdict']['claim']}", "@type": "Claim", "name": row["verdict"]["claim"],
         "text": (row["register"] or {}).get("statement", ""), "appearance": {"@id": PAPER},
         "description": f"{row['verdict']['verdict']}: {row['verdict']['statement']}"}
        for row in report["claims"]["decided"]
    ]  # fmt: skip
