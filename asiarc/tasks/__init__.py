"""What the mixers are measured on: real text, and synthetic tasks that each isolate one ability of a memory.

``get_task("overwrite:hard")`` gives a `Task`: seeded batches for training, documents for lm-eval, its chance
level, its source. `catalogue` is the difficulty table, `synthetic` the generators, `prose` and `corpus` the
text, `lm_eval_config` the way to lm-eval.

Every task shares one alphabet: a token is a byte, the vocabulary is 256, and token 0 opens every input.
Importing this package reads the catalogue only: no numpy, no corpus.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from asiarc.core.errors import TaskError
from asiarc.tasks.catalogue import ALIASES, CATALOGUE, Training, parse_name

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
    "get_task",
    "own_text",
    "with_own_text",
]

BOS = 0
IGNORE = -100
VOCAB_SIZE = 256
SPLITS = ("train", "validation", "confirmation")
TASK_NAMES: tuple[str, ...] = (*CATALOGUE, *ALIASES)


def check_name(name: str) -> None:
    """Raise `TaskError` unless ``name`` is a task, ``task:level`` or ``text:/path``; no data is read."""
    parse_name(name)


def get_task(name: str) -> Task:
    """The task called ``name``: one of `TASK_NAMES`, with a level after a colon where wanted.

    ``text:/a/file-or-folder`` reads any UTF-8 text instead of the default corpus. Raises `TaskError` for an
    unknown task or level. No corpus is read before the first batch, document or identity is asked for.
    """
    from asiarc.tasks.task import SyntheticTask, TextTask

    base, level = parse_name(name)
    return (TextTask if CATALOGUE[base].kind == "text" else SyntheticTask)(base, level)


def with_own_text(name: str, folder: Path, *, build: bool) -> str:
    """The name by which a job opens the text of ``text:PATH``: by its key, once it is built; other names as they are.

    ``~`` is home, a relative path starts at `folder`. Without `build` the text is only looked for. Raises `TaskError`.
    """
    base, level = parse_name(name)
    if base != "text" or level in CATALOGUE["text"].levels or is_key(level):
        return name
    path = own_path(level, folder)
    if not build:
        return name
    from asiarc.tasks.corpus import keep_text

    return f"text:{keep_text(path)}"


def own_text(name: str) -> str | None:
    """The key of the text of one's own that a task reads; None where it reads another or none."""
    base, level = parse_name(name)
    return level if base == "text" and is_key(level) else None


def is_key(level: str) -> bool:
    """Whether what follows ``text:`` is the key of a text that was built, and no path."""
    return re.fullmatch(r"[a-z0-9_]+-[0-9a-f]{16}", level) is not None


def own_path(path: str, folder: Path) -> Path:
    """Where a text of one's own lies: ``~`` is home, a relative path starts at `folder`. Raises `TaskError`."""
    try:
        found = folder / Path(path).expanduser()
    except RuntimeError as error:
        raise TaskError(f"text:{path}: {error}; write the folder out.") from error
    if not found.exists():
        raise TaskError(f"no file or folder {str(found)!r}: text:PATH takes a UTF-8 text file or a folder of them.")
    return found


def __getattr__(name: str) -> object:
    if name in {"Batch", "Task"}:
        from asiarc.tasks import task

        return getattr(task, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
