"""Entries of the cognition base and the TOML they are written in.

A file holds papers, and under each paper one to three entries (`[[paper]]`, `[[paper.entry]]`), so that a
title and an identifier are written once. An entry states what was observed (`problem`, `trigger`), what
answers it (`mechanism`, `equation`) and what that costs and leaves open, in the base's own words; the
identifier is there to be looked up.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from asiarc.core.errors import AsiarcError, unknown_name
from asiarc.core.genome import domain

IDENTIFIERS: Mapping[str, str] = {
    "arXiv": r"\d{2}(0[1-9]|1[0-2])\.\d{4,5}",
    "doi": r"10\.\d{4,9}/\S+",
    "openreview": r"[A-Za-z0-9_-]{6,}",
    "asiarc": r"[a-z0-9_]+/[0-9a-f]{8,64}",
}
"""The kinds of identifier and their form; `asiarc:campaign/address` names a verified candidate of our own."""

FIELDS = ("problem", "trigger", "mechanism", "equation", "cost", "limits")
"""The texts of an entry, in the order in which they are read."""


class CognitionError(AsiarcError):
    """An entry cannot be read or may not be added; the message names file, entry and field."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


Model = TypeVar("Model", bound=_Frozen)


class Publication(_Frozen):
    """Where an entry comes from. `year` is that of the first public version."""

    title: str = Field(min_length=5)
    authors: str = Field(min_length=2)
    year: int = Field(ge=1950, le=2100)
    identifier: str

    @field_validator("identifier")
    @classmethod
    def _well_formed(cls, identifier: str) -> str:
        kind, _, rest = identifier.partition(":")
        if kind not in IDENTIFIERS or not re.fullmatch(IDENTIFIERS[kind], rest):
            forms = ", ".join(f"{name}:{form}" for name, form in IDENTIFIERS.items())
            raise ValueError(f"{identifier!r} is not an identifier that can be looked up; forms: {forms}")
        return identifier


class Entry(_Frozen):
    """One answer to one observed weakness.

    `grammar` is the mechanism as the grammar writes it, `field=value` (``memory=gated_delta``), where it can
    express the idea. `evidence` is kept by entries that a campaign of our own has verified.
    """

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    paper: Publication
    problem: str = Field(min_length=20)
    trigger: str = Field(min_length=20)
    mechanism: str = Field(min_length=40)
    equation: str = Field(min_length=3)
    cost: str = Field(min_length=3)
    limits: str = Field(min_length=10)
    grammar: str | None = None
    evidence: str | None = None

    @field_validator("grammar")
    @classmethod
    def _expressible(cls, mechanism: str | None) -> str | None:
        if mechanism is not None and mechanism not in mechanisms():
            raise ValueError(unknown_name("mechanism", mechanism, mechanisms()))
        return mechanism


def mechanisms() -> frozenset[str]:
    """Every mechanism of the grammar as `field=value`; booleans are written as Python writes them."""
    return frozenset(f"{field}={value}" for field, values in domain().items() for value in values)


def load_file(path: Path) -> tuple[Entry, ...]:
    """The entries of one file, in its order. Raises `CognitionError`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CognitionError(f"{path}: cannot be read as TOML: {error}") from error
    if stray := sorted(set(content) - {"paper"}):
        raise CognitionError(f"{path}: {unknown_name('table', stray[0], ['paper'])}")
    return tuple(_entries(path, content.get("paper", [])))


def load_folder(folder: Path) -> tuple[Entry, ...]:
    """The entries of every ``*.toml`` of a folder, by file name. Raises `CognitionError`."""
    return tuple(entry for path in sorted(folder.glob("*.toml")) for entry in load_file(path))


def _entries(path: Path, papers: Any) -> Iterator[Entry]:
    for number, paper in enumerate(_tables(path, "paper", papers), start=1):
        where = f"{path}: paper {number} ({paper.get('title', 'no title')})"
        source = _validated(Publication, {key: paper[key] for key in paper if key != "entry"}, where)
        entries = list(_tables(path, "entry", paper.get("entry", [])))
        if not entries:
            raise CognitionError(f"{where} has no entry; write at least one [[paper.entry]] under it.")
        for fields in entries:
            yield _validated(Entry, fields | {"paper": source}, f"{where}, entry {fields.get('id', '?')!r}")


def _tables(path: Path, name: str, found: Any) -> Iterable[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise CognitionError(f"{path}: {name!r} must be an array of tables; write [[{name}]], not [{name}].")
    return found


def _validated(model: type[Model], fields: Mapping[str, Any], where: str) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise CognitionError(f"{where}: {_explain(model, error)}") from error


def _explain(model: type[_Frozen], error: ValidationError) -> str:
    """The first thing that is wrong, with the field's name and the nearest valid one."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"])) or model.__name__
    if first["type"] == "extra_forbidden":
        return unknown_name("field", field, set(model.model_fields) - {"paper"})
    if first["type"] == "missing":
        return f"field {field!r} is missing; required: {', '.join(_required(model))}."
    return f"field {field!r}: {first['msg']} (given: {str(first['input'])[:80]!r})"


def _required(model: type[_Frozen]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.is_required() and name != "paper"]


def as_toml(entries: Iterable[Entry]) -> str:
    """Entries as a file that `load_file` reads back; neighbours of one paper share its table."""
    papers: list[dict[str, Any]] = []
    previous: Publication | None = None
    for entry in entries:
        if entry.paper != previous:
            papers.append(entry.paper.model_dump() | {"entry": []})
        papers[-1]["entry"].append(entry.model_dump(exclude={"paper"}, exclude_none=True))
        previous = entry.paper
    return tomli_w.dumps({"paper": papers})
