"""What a rate counts, case by case, where `asiarc report --cases` finds it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import click

CASES = click.option("--cases", "kept", type=click.Path(path_type=Path), help="keep each case there, a JSON line each")


def keep(file: Path | None, rate: str, cases: Iterable[tuple[str, str, str]]) -> None:
    """Write the cases of a rate (what, expected, found), where a file is named."""
    if file is not None:
        rows = [{"rate": rate, "case": case, "expected": due, "found": found} for case, due, found in cases]
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
