"""What the mixers are measured on: real text, and synthetic tasks that each isolate one ability of a memory.

``get_task("overwrite:hard")`` gives a `Task`: seeded batches for training, documents for lm-eval, its chance
level, its source. `catalogue` is the difficulty table, `synthetic` the generators, `prose` and `corpus` the
text, `lm_eval_config` the way to lm-eval.

Every task shares one alphabet: a token is a byte, the vocabulary is 256, and token 0 opens every input.
Importing this package reads the catalogue only: no numpy, no corpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from asiarc.core.errors import TaskError
from asiarc.tasks.catalogue import ALIASES, BASE, CATALOGUE, DOCUMENTS, FILE, LM_EVAL, OWN, YAML, Training, parse_name

if TYPE_CHECKING:
    from asiarc.tasks.task import Batch, Task

__all__ = [
    "ALIASES",
    "BOS",
    "IGNORE",
    "SPLITS",
    "TASK_NAMES",
    "VOCAB_SIZE",
    "Batch",
    "Task",
    "Training",
    "check_name",
    "deciding",
    "get_task",
    "is_text",
    "opened",
    "own_text",
    "read_with",
]

BOS = 0
IGNORE = -100
VOCAB_SIZE = 256
PAGES = "_pages-"  # begins the key of a text in parquet files, and no other: those begin with a letter or a digit
SPLITS = ("train", "validation", "confirmation")
TASK_NAMES: tuple[str, ...] = (*CATALOGUE, *ALIASES)


def check_name(name: str) -> None:
    """Raise `TaskError` unless ``name`` has the form of a task's; no data is read."""
    parse_name(name)


def get_task(name: str, tokenizer: str = "bytes") -> Task:
    """The task called ``name``: one of `TASK_NAMES`, with a level after a colon where wanted.

    ``tokenizer`` makes tokens of its text (`asiarc.tasks.tokenizer`); tokens of synthetic tasks are bytes.

    ``text:/a/file-or-folder`` reads any UTF-8 text instead of the default corpus, ``file.py:function`` is a generator
    of one's own; both are built for this where they are not yet. Raises `TaskError` for an unknown task or level. No
    corpus is read before the first batch, document or identity is asked for.
    """
    base, level = parse_name(name)
    if base in (FILE, LM_EVAL) or (_is_own(base, level) and has_pages(Path(level))):
        return get_task(opened(name, Path(), build=True), tokenizer)
    if base == DOCUMENTS:
        from asiarc.tasks.documents import DocumentsTask

        return DocumentsTask(level, tokenizer)
    if tokenizer != "bytes" and (not is_text(name) or base == "mixed"):
        raise TaskError(f"tokens of {name} are bytes, not {tokenizer}'s: its recipe says tokenizer='bytes'.")
    if tokenizer != "bytes" or is_pages(level):
        from asiarc.tasks.tokens import TokenTask

        return TokenTask(base, level, tokenizer)
    if base == OWN:
        from asiarc.tasks.own import OwnTask

        key, _, at = level.partition(":")
        return OwnTask(key, at or BASE)
    if base == "mixed":
        from asiarc.tasks.mixed import MixedTask

        return MixedTask(base, level)
    from asiarc.tasks.task import SyntheticTask, TextTask

    return (TextTask if CATALOGUE[base].kind == "text" else SyntheticTask)(base, level)


def deciding(names: Iterable[str]) -> tuple[str, ...]:
    """Which of some tasks decide between mixers: those that may; but where one of them was shown to measure memory
    (`Validity.shown`), texts that were not stand back. Empty where none may.
    """
    may = {name: task for name in dict.fromkeys(names) if (task := get_task(name)).decides}
    if not any(task.shown for task in may.values()):
        return tuple(may)
    return tuple(name for name, task in may.items() if task.shown or task.base not in CATALOGUE or task.kind != "text")


def read_with(name: str, tokenizer: str) -> Task:
    """A task as a stage opens it whose texts are read with a tokenizer: synthetic ones are bytes all the same."""
    task = get_task(name)
    return get_task(name, tokenizer) if task.kind == "text" else task


def opened(name: str, folder: Path, *, build: bool, text: str = "text") -> str:
    """The name by which a job opens what is one's own, a text, a generator or documents: by its key, once it is built
    and checked; other names as they are.

    ``~`` is home, a relative path starts at `folder`. Documents that bring nothing to train on are read by models that
    are trained on the task `text` (empty: there is none). Without `build` nothing is written: a text is only looked
    for, a generator is checked all the same, and of a YAML what it says. Raises `TaskError`.
    """
    base, level = parse_name(name)
    if base == FILE and name.endswith(YAML):
        return _documents(name, folder, text if not build else text and opened(text, folder, build=True), build=build)
    if base == LM_EVAL:
        return _named_documents(level, text and opened(text, folder, build=True)) if build else name
    if base == FILE:
        return _generator(name, folder, build=build)
    if base in (OWN, DOCUMENTS):
        return name
    if not _is_own(base, level):
        return name
    path = own_path(level, folder)
    if not build:
        return name
    if has_pages(path):
        from asiarc.tasks.pages import keep_pages

        return f"text:{keep_pages(path)}"
    from asiarc.tasks.corpus import keep_text

    return f"text:{keep_text(path)}"


def _is_own(base: str, level: str) -> bool:
    """Whether a name is that of a text of one's own by its path."""
    return base == "text" and level not in CATALOGUE["text"].levels and not is_key(level)


def has_pages(folder: Path) -> bool:
    """Whether a text of one's own is a folder of parquet files."""
    return folder.is_dir() and next(folder.rglob("*.parquet"), None) is not None


def own_text(name: str) -> str | None:
    """The key of the text of one's own that a task reads; None where it reads another or none."""
    base, level = parse_name(name)
    return level if base == "text" and is_key(level) and not is_pages(level) else None


def _generator(place: str, folder: Path, *, build: bool) -> str:
    """The name of a generator by its key, or its place as it was given; checked in any case."""
    from asiarc.tasks.own import check_once
    from asiarc.tasks.source import keep, made, placed, source_of

    path, function, level = placed(place)
    source = source_of(own_path(str(path), folder), function)
    declared = made(source)
    check_once(source.key, declared.at(level or BASE))
    if not build:
        return place
    return f"{OWN}:{keep(source)}" + (f":{level}" if level and level != BASE else "")


def _documents(place: str, folder: Path, text: str, *, build: bool) -> str:
    """The name of a YAML's documents by their key, or its place as it was given."""
    from asiarc.tasks.rendering import declared, rendered_file, trains

    file = own_path(place, folder)
    if not trains(declared(file)) and not text:
        raise TaskError(
            f"{file} names no training_split, and the campaign has no text to train on: add 'text' to its tasks, or "
            "name a training_split"
        )
    if not build:
        return place
    from asiarc.tasks.documents import keep_documents

    return f"{DOCUMENTS}:{keep_documents(rendered_file(file), text)}"


def _named_documents(name: str, text: str) -> str:
    from asiarc.tasks.documents import keep_documents
    from asiarc.tasks.rendering import rendered_name

    return f"{DOCUMENTS}:{keep_documents(rendered_name(name), text)}"


def is_text(name: str) -> bool:
    """Whether a name is that of a text to train on, which every byte of is asked for."""
    base, _ = parse_name(name)
    return base in CATALOGUE and CATALOGUE[base].kind == "text"


def is_key(level: str) -> bool:
    """Whether what follows ``text:`` is the key of a text that was built, and no path."""
    return re.fullmatch(r"[a-z0-9_]+-[0-9a-f]{16}", level) is not None


def is_pages(level: str) -> bool:
    """Whether a key is that of a text in parquet files."""
    return level.startswith(PAGES)


def own_path(path: str, folder: Path) -> Path:
    """Where a text of one's own lies: ``~`` is home, a relative path starts at `folder`. Raises `TaskError`."""
    try:
        found = folder / Path(path).expanduser()
    except RuntimeError as error:
        raise TaskError(f"text:{path}: {error}; write the folder out.") from error
    if not found.exists():
        raise TaskError(
            f"no file or folder {str(found)!r}: text:PATH takes a UTF-8 text file or a folder of them, "
            "FILE.py:FUNCTION a generator, FILE.yaml a task of lm-eval's."
        )
    return found


def __getattr__(name: str) -> object:
    if name in {"Batch", "Task"}:
        from asiarc.tasks import task

        return getattr(task, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
