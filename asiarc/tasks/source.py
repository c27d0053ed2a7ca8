"""A generator of one's own as text: what it rests on in its file, kept by its content, and made a function again.

What is kept is the file with all left out that the generator does not reach, every line in its place: a campaign's
file may hold generators, and no job runs a campaign. Comments do not count, nor does where the file lies.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from asiarc.core.digest import digest
from asiarc.core.errors import TaskError, unknown_name
from asiarc.core.reach import is_foreign, part_of
from asiarc.tasks.catalogue import PLACE
from asiarc.tasks.declared import DeclaredTask
from asiarc.tasks.keep import OPEN, as_json, gone, keep_files, own_folder, read_kept

# What a person's code raises: told as the person's, at its line.
FAULTS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A generator's part of its file: its name, the text, and what people call the file."""

    function: str
    text: str
    file: str

    @property
    def key(self) -> str:
        """``copying-0123456789abcdef``: the name, for people, and the hash of what is reached."""
        reached, _ = part_of(self.text, self.function)
        slug = re.sub(r"[^a-z0-9]+", "_", self.function.lower()).strip("_")[:24] or "task"
        return f"{slug}-{digest([self.function, reached.whole])}"


def source_of(file: Path, function: str) -> Source:
    """A generator's part of a file, which is read and not run. Raises `TaskError`."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        body = ast.parse(text, str(file)).body
    except OSError as error:
        raise TaskError(f"no file {str(file)!r} to read: a task is named FILE.py:FUNCTION.") from error
    except (SyntaxError, ValueError) as error:
        raise TaskError(f"{file}:{getattr(error, 'lineno', 1)}: this is no Python: {error}") from error
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    if function not in functions:
        then = "A task is a function at the top of its file, below @asiarc.task(chance=...)."
        raise TaskError(unknown_name(f"task of {file.name}:", function, functions, then=then))
    _, statements = part_of(text, function)
    for node in statements:
        _check_imports(node, file)
    return Source(function, _only(text, statements), str(file))


def _only(text: str, statements: list[ast.stmt]) -> str:
    """The lines of some statements, each in its place."""
    lines = text.splitlines(keepends=False)
    wanted = {n for node in statements for n in range(_first_line(node), (node.end_lineno or node.lineno) + 1)}
    return "\n".join(line if number in wanted else "" for number, line in enumerate(lines, 1)) + "\n"


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])


def _check_imports(node: ast.stmt, file: Path) -> None:
    """Jobs have the installed packages, and of one's own files this one. Raises `TaskError`."""
    for found in (one for one in ast.walk(node) if isinstance(one, (ast.Import, ast.ImportFrom))):
        if isinstance(found, ast.ImportFrom) and (found.level or any(alias.name == "*" for alias in found.names)):
            raise _not_here(file, found, "." * found.level + (found.module or ""))
        names = [alias.name for alias in found.names] if isinstance(found, ast.Import) else [str(found.module)]
        for name in names:
            if not _is_installed(name.partition(".")[0]):
                raise _not_here(file, found, name)


def _not_here(file: Path, node: ast.Import | ast.ImportFrom, name: str) -> TaskError:
    return TaskError(
        f"{file}:{node.lineno}: a task may import installed packages by their names, and jobs have nothing else beside "
        f"its file: put what it needs of {name!r} into the file"
    )


@lru_cache(maxsize=256)
def _is_installed(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # it is being run, and was not imported
        return False
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location and spec.origin else [])]
    return all(is_foreign(Path(place)) for place in places)


def made(source: Source) -> DeclaredTask:
    """The declared task of a source, whose code runs for this. Raises `TaskError` where it fails, or declares none."""
    module = ModuleType(f"asiarc_own_{source.function}")
    module.__file__ = source.file
    sys.modules[module.__name__] = module  # where dataclasses look for it
    with told_at(source.file, f"{source.function}'s file"):
        exec(compile(source.text, source.file, "exec", dont_inherit=True), vars(module))
    found = vars(module).get(source.function)
    if not isinstance(found, DeclaredTask):
        raise TaskError(f"{source.file}: {source.function} is no task yet: put @asiarc.task(chance=...) above it")
    return found


@contextmanager
def told_at(file: str, who: str, line: int = 1) -> Iterator[None]:
    """What a person's code raises is a `TaskError` that names its line, or `line` where it was not reached."""
    try:
        yield
    except FAULTS as error:
        if isinstance(error, TaskError):
            raise
        own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        at = own[-1] if own else getattr(error, "lineno", None) or line
        raise TaskError(f"{file}:{at}: {who} raises {type(error).__name__}: {error}") from error


def keep(source: Source) -> str:
    """Keep a source for jobs; its key."""
    record = {"function": source.function, "source": source.text, "file": source.file}
    if not own_folder(source.key).is_dir():
        keep_files(own_folder(source.key), {OPEN: as_json(record)})
    return source.key


@lru_cache(maxsize=64)
def kept(key: str) -> DeclaredTask:
    """The task that was kept under a key. Raises `TaskError` where it is gone, or is another."""
    record = read_kept(key, OPEN)
    source = Source(str(record.get("function")), str(record.get("source")), str(record.get("file")))
    try:
        is_it = source.key == key
    except (AssertionError, SyntaxError):  # another text, or another function
        is_it = False
    if not is_it:
        raise gone(key)
    return made(source)


def placed(place: str) -> tuple[Path, str, str]:
    """File, function and level (or nothing) of ``FILE.py:FUNCTION:LEVEL``."""
    found = PLACE.fullmatch(place)
    assert found, place
    return Path(found["file"]), found["function"], found["level"] or ""
