"""Text rich in names that come back, which every install has: Python's own library as code alone.

Each module is read with `ast` and written anew without comments and docstrings, a paragraph for each statement at its
top: one layout throughout, and no prose, which `text` has. Tests, tables of encodings, and what is longer than
`LONGEST_BYTES` (generated data) are left out.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from asiarc.core.errors import TaskError
from asiarc.tasks.prose import Section

LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "encodings", "pydoc_data", "__pycache__"})
LONGEST_BYTES, SHORTEST_BYTES = 16_384, 40  # of a statement at the top: a class whole, an import not
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_sections() -> Iterator[Section]:
    """One section a module of the standard library, by its path. Raises `TaskError` where no source is installed."""
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(file for file in root.rglob("*.py") if LEFT_OUT.isdisjoint(file.relative_to(root).parts))
    if not files:
        raise TaskError(f"no source of Python's own library in {root}: use the task 'text', or text:/path/to/folder.")
    for file in files:
        statements = list(code_alone(file.read_bytes()))
        if statements:
            yield file.relative_to(root).as_posix(), statements


def code_alone(source: bytes) -> Iterator[str]:
    """The statements at a module's top without comments and docstrings, those that are ASCII and of a middling size;
    nothing of a file that is no Python of this version."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    for statement in tree.body:
        text = ast.unparse(statement)
        if text.isascii() and "\0" not in text and SHORTEST_BYTES <= len(text) <= LONGEST_BYTES:
            yield text
