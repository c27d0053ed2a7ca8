"""What a path holds: the records of a release, a candidate file, a folder of either."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asiarc.errors import CandidateError

Form = Literal["candidate", "release"]


@dataclass(frozen=True)
class Program:
    """A program to audit: its form, its source, and what its record says of it."""

    index: int
    name: str
    source: str
    form: Form
    recorded_parameters: float | None = None  # in millions


def read(path: Path) -> list[Program]:
    """The programs at a path: a ``.json`` list of records, a ``.py`` file, or a folder of ``.py`` files.

    Raises `CandidateError` when there is nothing to audit.
    """
    if path.is_dir():
        files = sorted(file for file in path.glob("*.py") if file.name != "__init__.py")
        programs = [_from_file(i, file) for i, file in enumerate(files)]
    elif path.suffix == ".json":
        programs = _from_records(path)
    elif path.is_file():
        programs = [_from_file(0, path)]
    else:
        raise CandidateError(
            f"{path} does not exist; give a .py file, a folder of them, or the release's .json"
        )
    if not programs:
        raise CandidateError(
            f"{path} holds no program; a record needs a 'program', a folder at least one .py file"
        )
    return programs


def _from_file(index: int, path: Path) -> Program:
    source = path.read_text()
    return Program(index, path.stem, source, "candidate" if "Mixer" in _classes(source) else "release")


def _classes(source: str) -> set[str]:
    try:
        return {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
    except SyntaxError:
        return set()


def _from_records(path: Path) -> list[Program]:
    try:
        records = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise CandidateError(
            f"{path} is not JSON (line {error.lineno}); give the list of records as published"
        ) from error
    if not (isinstance(records, list) and all(isinstance(record, dict) for record in records)):
        raise CandidateError(f"{path} is no list of records; give the release's list, each with a 'program'")
    return [
        _from_record(i, record) for i, record in enumerate(records) if isinstance(record.get("program"), str)
    ]


def _from_record(position: int, record: dict[str, Any]) -> Program:
    index = record.get("index")
    name = str(record.get("name_new") or record.get("name") or position)
    return Program(
        index if isinstance(index, int) else position,
        name,
        record["program"],
        "release",
        _millions(record.get("parameters")),
    )


def _millions(text: object) -> float | None:
    """ "411.83M" -> 411.83."""
    try:
        return float(str(text).removesuffix("M"))
    except ValueError:
        return None
