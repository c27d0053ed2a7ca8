"""A candidate: one Python source file that defines `Mixer`, named by what it computes.

The contract of the file is in the README ("A candidate"). Loading executes the source, so `load_mixer` is called
in the sandbox only; everything else here reads the source as text and imports no torch.
"""

from __future__ import annotations

import ast
import hashlib
import linecache
import sys
import tokenize
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from asiarc.core.digest import digest
from asiarc.core.errors import CandidateError

if TYPE_CHECKING:
    from torch import nn

# Decorators that choose how a function is run and not what it computes: dropped before anything runs.
COMPILERS = frozenset({"torch.compile", "torch.compiler.disable", "torch.jit.script"})


def read_source(path: Path) -> str:
    """A file as Python reads it, byte order mark and coding line obeyed; `CandidateError` where it is no text."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise CandidateError(f"{path} cannot be read as Python text ({error}); save it as UTF-8") from error


def parse(source: str) -> ast.Module:
    """The syntax tree of a candidate; `CandidateError` names the line where it is none."""
    try:
        return ast.parse(source.removeprefix("\ufeff"))
    except (SyntaxError, ValueError) as error:  # ValueError: NUL bytes
        line = getattr(error, "lineno", None)
        where = f"line {line}: " if line else ""
        raise CandidateError(f"not Python: {where}{getattr(error, 'msg', error)}") from error
    except (RecursionError, MemoryError) as error:  # how the parser says that its stack is full
        raise _too_deep() from error


def as_run(source: str) -> tuple[ast.Module, tuple[ast.AST, ...]]:
    """(the tree that is examined, named and run, what was dropped of it): no `COMPILERS`, no block that never runs."""
    tree = parse(source)
    dropped: list[ast.AST] = [node for node in tree.body if _never_runs(node)]
    tree.body = [node for node in tree.body if not _never_runs(node)]
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            compilers = [
                d for d in node.decorator_list if dotted(d.func if isinstance(d, ast.Call) else d) in COMPILERS
            ]
            node.decorator_list = [d for d in node.decorator_list if d not in compilers]
            dropped += compilers
    return tree, tuple(dropped)


def _never_runs(node: ast.stmt) -> bool:
    """``if __name__ == "__main__"`` and ``if TYPE_CHECKING``: no candidate is a script, or only read for its types."""
    match node:
        case ast.If(ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]), orelse=[]):
            return True
        case ast.If(test, orelse=[]):
            return dotted(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return False


def names_of(node: ast.AST) -> tuple[str, ...]:
    """``a.b.c`` as ("a", "b", "c"); empty for what does not start with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else ()


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for attributes of a name, else empty."""
    return ".".join(names_of(node))


def _too_deep() -> CandidateError:
    return CandidateError("an expression is nested too deeply to be read; write it as several statements")


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:]
    return tree


def content_address(source: str) -> str:
    """Sixteen hex digits of the hash of the normalised syntax tree.

    Comments, docstrings, blank lines, formatting and what is dropped before it runs do not count, names and numbers do.
    """
    tree = _without_docstrings(as_run(source)[0])
    try:
        normalised = ast.dump(tree, annotate_fields=False, include_attributes=False)
    except RecursionError as error:
        raise _too_deep() from error
    return hashlib.blake2b(normalised.encode(), digest_size=8).hexdigest()


def address_of(source: str) -> str:
    """A candidate's content address; text that is no Python has one too: the gates reject it, with the line."""
    try:
        return content_address(source)
    except CandidateError:
        return digest(source)


def motivation(source: str) -> str:
    """The candidate's module docstring, or an empty text."""
    return ast.get_docstring(parse(source)) or ""


def load_mixer(source: str) -> type[nn.Module]:
    """Execute a candidate's source and return its `Mixer` class (in the sandbox only).

    Raises `CandidateError` when the source is not Python or defines no `Mixer` class; whatever the source itself
    raises while it runs passes through.
    """
    from torch import nn

    name = f"candidate_{content_address(source)}"
    filename = f"<{name}>"
    module = ModuleType(name)
    module.__file__ = filename
    sys.modules[name] = module  # dataclasses look their module up
    # Tracebacks and inspect show the candidate's own lines.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(as_run(source)[0], filename, "exec"), module.__dict__)
    mixer = getattr(module, "Mixer", None)
    if not (isinstance(mixer, type) and issubclass(mixer, nn.Module)):
        raise CandidateError("the candidate defines no class Mixer(nn.Module); add one, see the candidate contract")
    return mixer


def make_mixer(mixer_class: type[nn.Module], d_model: int, num_heads: int) -> nn.Module:
    """A mixer of a class: the one call in which it is made, for whoever examines, measures or trains it."""
    return mixer_class(d_model, num_heads)
