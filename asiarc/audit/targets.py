"""What there is to audit: a release's records, candidate files, exported models, a class under its name."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asiarc.core.candidate import parse, read_source
from asiarc.core.errors import CandidateError, nearest

Form = Literal["candidate", "release", "named", "exported"]
ALLOWED = (
    "a .py file, a folder of them, the release's .json, a model's folder (config.json and .safetensors), "
    "or module:Class"
)


@dataclass(frozen=True)
class Program:
    """Something to audit: its form, what the examination of that form takes, and what its record says of it."""

    index: int
    name: str
    form: Form
    payload: dict[str, Any]
    public_name: str | None = None
    recorded_parameters: float | None = None  # in millions
    readable: Path | None = None  # what has to be read from in the sandbox
    failure: str = ""  # why there is nothing to examine


def read(target: str, adapter: str | None = None) -> list[Program]:
    """What a path or name holds.

    Raises `CandidateError` when there is nothing to audit, with what is allowed and the nearest choice.
    """
    path = Path(target)
    if path.is_dir():
        programs = _from_folder(path)
    elif path.is_file():
        programs = _from_records(path) if path.suffix == ".json" else [_from_file(0, path)]
    elif ":" in target:
        return [_from_name(target, adapter)]
    else:
        raise CandidateError(f"{target} does not exist{_near(path)}; give {ALLOWED}")
    if adapter:
        raise CandidateError(f"--adapter builds a class named as module:Class, and {target} is a file or folder")
    if not programs:
        raise CandidateError(
            f"{path} holds no program; a record needs a 'program', a folder a .py file; give {ALLOWED}"
        )
    return programs


def _near(path: Path) -> str:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, siblings)
    return f" (did you mean {path.parent / close}?)" if close else ""


def _from_folder(path: Path) -> list[Program]:
    if (path / "config.json").is_file():
        return _from_export(path)
    files = sorted(file for file in path.glob("*.py") if file.name != "__init__.py")
    if files:
        return [_from_file(i, file) for i, file in enumerate(files)]
    exports = [model for config in sorted(path.glob("*/config.json")) for model in _from_export(config.parent)]
    return [Program(i, p.name, p.form, p.payload, readable=p.readable) for i, p in enumerate(exports)]


def _from_export(folder: Path) -> list[Program]:
    """The model, and where its configuration holds the source of its mixer, that as a candidate."""
    if not any(folder.glob("*.safetensors")):
        raise CandidateError(f"{folder} has a config.json and no .safetensors; save it with save_pretrained")
    name = folder.resolve().name
    model = Program(0, name, "exported", {"folder": str(folder.resolve())}, readable=folder.resolve())
    source = _json(folder / "config.json").get("mixer_source")
    mixer = [Program(1, f"{name} (its mixer)", "candidate", {"program": source})] if source else []
    return [model, *mixer]


def _from_name(target: str, adapter: str | None) -> Program:
    place, _, name = target.rpartition(":")
    path = Path(place)
    folder, module = (path.resolve().parent, path.stem) if path.suffix == ".py" else (Path.cwd(), place)
    if path.suffix == ".py" and not path.is_file():
        raise CandidateError(f"{place} does not exist{_near(path)}; give {ALLOWED}")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise CandidateError(f"{target} is neither a path nor module:Class; give {ALLOWED}")
    if adapter and adapter.count(":") != 1:
        raise CandidateError(f"--adapter is module:function, not {adapter}")
    payload = {"target": f"{module}:{name}", "adapter": adapter, "path": str(folder)}
    return Program(0, target, "named", payload, readable=folder)


def _from_file(index: int, path: Path) -> Program:
    """What has no class at all is a candidate, too: a gate says what is wrong with it."""
    try:
        source = read_source(path)
    except CandidateError as error:
        return Program(index, path.stem, "candidate", {}, failure=str(error))
    classes = _classes(source)
    form: Form = "candidate" if "Mixer" in classes or not classes else "release"
    return Program(index, path.stem, form, {"program": source})


def _classes(source: str) -> set[str]:
    try:
        return {node.name for node in ast.walk(parse(source)) if isinstance(node, ast.ClassDef)}
    except CandidateError:
        return set()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:  # not UTF-8, or not JSON
        raise CandidateError(f"{path} is not JSON ({error}); give it as it was published") from error


def _from_records(path: Path) -> list[Program]:
    records = _json(path)
    if isinstance(records, dict) and isinstance(records.get("results"), list):
        records = records["results"]
    if not (isinstance(records, list) and all(isinstance(record, dict) for record in records)):
        raise CandidateError(f"{path} is no list of records; give the release's list, each with a 'program'")
    held = [(i, record) for i, record in enumerate(records) if isinstance(record.get("program"), str)]
    return [_from_record(i, record) for i, record in held]


def _from_record(position: int, record: dict[str, Any]) -> Program:
    index, name, public = record.get("index"), record.get("name"), record.get("name_new")
    return Program(
        index if isinstance(index, int) else position,
        str(name or public or position),
        "release",
        {"program": record["program"]},
        public_name=str(public) if public else None,
        recorded_parameters=_millions(record.get("parameters")),
    )


def _millions(text: object) -> float | None:
    """ "411.83M" -> 411.83."""
    try:
        return float(str(text).removesuffix("M"))
    except ValueError:
        return None
