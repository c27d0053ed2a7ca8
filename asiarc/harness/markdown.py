"""A session as a Markdown table, for the step summary of a CI: each item of asiarc's, how it ended, what was found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

ENDED = {"passed": "passed", "failed": "**failed**", "error": "**error**", "skipped": "skipped"}
MOST = 400


def table(stats: dict[str, list[Any]], ours: Iterable[str]) -> str:
    """The table, from pytest's own reports by category; `ours` are the files that it is about."""
    files = tuple(ours)
    rows = [
        (report.nodeid, word, first_words(report))
        for category, word in ENDED.items()
        for report in stats.get(category, ())
        if report.nodeid.partition("::")[0] in files
    ]
    count = ", ".join(f"{sum(row[1] == word for row in rows)} {word.strip('*')}" for word in ENDED.values())
    head = ["## asiarc", "", count, "", "| item | ended | found |", "|---|---|---|"]
    return "\n".join([*head, *(f"| `{node}` | {word} | {text} |" for node, word, text in sorted(rows))]) + "\n"


def first_words(report: Any) -> str:
    """What a report says, on one line, after the place that its item names already."""
    properties = ", ".join(f"{name} {value}" for name, value in getattr(report, "user_properties", ()))
    if report.outcome == "passed":
        return cell(properties)
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return cell(text.strip()[:MOST])


def cell(text: str) -> str:
    """Text in a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def write(path: Path, text: str) -> None:
    """Write it; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
