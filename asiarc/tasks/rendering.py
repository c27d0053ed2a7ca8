"""lm-eval's own tasks as plain documents: what a task's YAML asks of each of its documents, said once and kept.

lm-eval 0.4.13 reads the YAML, fetches nothing, and renders context, choices and answer; from there on they are scored
as every task's documents are. A file's data are JSON lines or parquet beside it; a task of lm-eval's by its name has
what lies in the cache of `datasets`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from asiarc.core.errors import TaskError, unknown_name
from asiarc.tasks.catalogue import Role, Style
from asiarc.tasks.source import FAULTS

Document = dict[str, Any]
STYLES: dict[str, Style] = {
    "multiple_choice": "choice", "loglikelihood": "cloze", "loglikelihood_rolling": "rolling",
}  # fmt: skip
METRIC: dict[Style, str] = {"choice": "acc", "cloze": "acc", "rolling": "bits_per_byte"}
SPLITS = ("training_split", "validation_split", "test_split")


@dataclass(frozen=True)
class Rendered:
    """A task's documents by lm-eval's splits, training, validation and test, each empty where it has none."""

    name: str
    style: Style
    role: Role
    chance: float | None
    splits: dict[str, list[Document]]


def declared(file: Path) -> dict[str, Any]:
    """What a task's YAML says, with its functions as texts; nothing is run. Raises `TaskError` where no trial could
    score it, or its files are not there."""
    config = _yaml(file)
    if not isinstance(config, dict) or not isinstance(config.get("task"), str):
        raise TaskError(f"{file} is no task of lm-eval's: one mapping with task: NAME is due, no group and no list")
    _check_kind(str(file), config)
    _check_role(str(file), config)
    for path in _files(file, config).values():
        if not path.is_file():
            raise TaskError(
                f"{file}: data_files names {str(path)!r}, which is no file; paths start at the YAML's folder"
            )
    return config


def trains(config: dict[str, Any]) -> bool:
    """Whether a task's YAML names what is trained on."""
    return bool(config.get("training_split"))


def _yaml(file: Path) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Functions of the file's neighbours are named, not imported."""

    Loader.add_constructor("!function", lambda _, node: f"!function {node.value}")
    try:
        return yaml.load(file.read_bytes(), Loader)  # the safe one
    except OSError as error:
        raise TaskError(f"no file {str(file)!r} to read: a task of lm-eval's is named FILE.yaml.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskError(f"{file} is no YAML: {error}") from error


def _check_kind(who: str, config: dict[str, Any]) -> None:
    kind = config.get("output_type", "generate_until")
    if kind == "generate_until":
        raise TaskError(
            f"{who}: output_type is generate_until: a trial's model is read token by token for its likelihoods, and "
            f"generates nothing; take one of {', '.join(STYLES)}"
        )
    if kind not in STYLES:
        raise TaskError(f"{who}: " + unknown_name("output_type", str(kind), STYLES))
    if config.get("num_fewshot"):
        raise TaskError(f"{who}: num_fewshot is {config['num_fewshot']}: trials are scored without examples, write 0")
    metrics = [row.get("metric") for row in config.get("metric_list") or [] if isinstance(row, dict)]
    wanted = METRIC[STYLES[kind]]
    if metrics and wanted not in metrics:
        raise TaskError(f"{who}: metric_list has {', '.join(map(str, metrics))}; {kind} is scored by {wanted} here")


def _check_role(who: str, config: dict[str, Any]) -> None:
    role = _metadata(config).get("role", "reported")
    if role not in get_args(Role):
        raise TaskError(f"{who}: metadata: " + unknown_name("role", str(role), get_args(Role)))
    chance = _metadata(config).get("chance")
    if chance is not None and not (isinstance(chance, float) and 0 < chance < 1):
        raise TaskError(f"{who}: metadata: chance is {chance!r}; an accuracy by chance lies between 0 and 1")


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    found = config.get("metadata") or {}
    return found if isinstance(found, dict) else {}


def _files(file: Path, config: dict[str, Any]) -> dict[str, Path]:
    """The data file of each split that the YAML names; empty where its data are no files. Raises `TaskError`."""
    if config.get("dataset_path") not in ("json", "parquet"):
        return {}
    named = (config.get("dataset_kwargs") or {}).get("data_files")
    by_split = named if isinstance(named, dict) else {"train": named}
    found = {}
    for split in {str(config[key]) for key in SPLITS if config.get(key)}:
        path = by_split.get(split)
        if not isinstance(path, str):
            raise TaskError(
                f"{file}: the split {split!r} has no file; write dataset_kwargs: {{data_files: {{{split}: FILE}}}}"
            )
        found[split] = file.parent / Path(path).expanduser()
    return found


def rendered_file(file: Path) -> Rendered:
    """The documents of a task's YAML. Raises `TaskError`."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    files = _files(file, declared(file))
    with _told(str(file)), _offline():
        config = load_yaml(file)
        if files:
            config["custom_dataset"] = lambda **_: _read(files)
        (task,) = TaskManager(include_defaults=False).load([config])["tasks"].values()
        return _rendered(str(file), config["task"], task)


def rendered_name(name: str) -> Rendered:
    """The documents of a task that lm-eval brings, where its data lie in the cache of datasets. Raises `TaskError`."""
    manager = _brought()
    if name not in manager.all_subtasks:
        then = "Groups are named task by task; a YAML of your own is named by its path."
        raise TaskError(f"lm_eval:{name}: " + _near(name, manager.all_subtasks, then))
    try:
        with _offline():
            (task,) = manager.load([name])["tasks"].values()
    except FAULTS as error:
        raise TaskError(
            f"lm_eval:{name}: its data are not here ({type(error).__name__}: {str(error)[:200]}). Fetch them where "
            f"there is a network, into the cache of datasets: lm-eval run --tasks {name} --model dummy --limit 1"
        ) from error
    _check_kind(f"lm_eval:{name}", task.config.to_dict())
    with _told(f"lm_eval:{name}"):
        return _rendered(f"lm_eval:{name}", name, task)


@cache  # it reads thousands of files
def _brought() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _near(name: str, names: list[str], then: str) -> str:
    """`unknown_name` of thousands: the nearest is told, and not all of them."""
    told = unknown_name("task of lm-eval's", name, names)
    return told.partition(" Valid: ")[0] + f" {then}"


@contextlib.contextmanager
def _told(who: str) -> Iterator[None]:
    """What lm-eval, or a function that the YAML names, raises is the user's to mend."""
    import jinja2

    try:
        yield
    except (*FAULTS, jinja2.TemplateError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{who}: lm-eval cannot read it: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Nothing is fetched, whatever the environment says."""
    import datasets.config  # type: ignore[import-untyped]
    import huggingface_hub.constants

    places = [(datasets.config, "HF_HUB_OFFLINE"), (huggingface_hub.constants, "HF_HUB_OFFLINE")]
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)


def _read(files: dict[str, Path]) -> dict[str, Any]:
    from datasets import Dataset

    return {split: Dataset.from_list(_rows(path)) for split, path in files.items()}


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet  # type: ignore[import-untyped]

        found: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return found
    text = path.read_bytes().decode("utf-8-sig")
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _rendered(who: str, name: str, task: Any) -> Rendered:
    style = STYLES[task.OUTPUT_TYPE]
    docs = {
        "training": task.training_docs() if task.has_training_docs() else (),
        "validation": task.validation_docs() if task.has_validation_docs() else (),
        "test": task.test_docs() if task.has_test_docs() else (),
    }
    splits = {
        split: [
            _document(f"{who}: document {number} of {split}", style, task, doc) for number, doc in enumerate(some or ())
        ]
        for split, some in docs.items()
    }
    metadata = _metadata(task.config.to_dict())
    return Rendered(name, style, metadata.get("role", "reported"), metadata.get("chance"), splits)


def _document(who: str, style: Style, task: Any, doc: dict[str, Any]) -> Document:
    """What lm-eval asks of one document, as our templates have it. Raises `TaskError`."""
    context = "" if style == "rolling" else task.fewshot_context(doc, 0)
    asked = task.construct_requests(doc=doc, ctx=context, metadata=(task.task_name, 0, 1))
    requests = [one.args for one in (asked if isinstance(asked, list) else [asked])]
    texts = {text for request in requests for text in request if isinstance(text, str)}
    if any("\0" in text for text in texts):
        raise TaskError(f"{who} holds NUL bytes, which open every input here")
    if style == "rolling":
        return {"text": requests[0][0]}
    if style == "cloze":
        return {"context": requests[0][0], "target": requests[0][1]}
    if len({request[0] for request in requests}) > 1:
        raise TaskError(f"{who}: its choices are contexts (several inputs for one answer), which is not scored here")
    choices = [request[1] for request in requests]
    answer = _answer(who, task, doc)
    return {"context": requests[0][0], "choices": choices, "answer": answer, "target": choices[answer]}


def _answer(who: str, task: Any, doc: dict[str, Any]) -> int:
    """The index of the right choice. Raises `TaskError`."""
    target, choices = task.doc_to_target(doc), task.doc_to_choice(doc)
    index = choices.index(target) if isinstance(target, str) and target in choices else target
    if type(index) is not int or not 0 <= index < len(choices):
        raise TaskError(f"{who}: the target is {target!r}, which is no one of its {len(choices)} choices")
    return index
