"""One file out of many: the definitions that some roots reach, each as it is written, under names that do not clash.

A definition is a statement of a module's top level that binds names. From the roots every name is followed that a
definition looks up in its module; imports from outside are gathered, imports from asiarc become the definitions
themselves. Two definitions of one name, or one of a name that is taken, are told apart by their module's name; nothing
else of a text changes.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from graphlib import TopologicalSorter

from asiarc.core.reach import Code, Place
from asiarc.export.scopes import Use, bound, uses

Key = tuple[str, str]  # what a name stands for: a `Place`, or (IMPORT, what is imported), or (BUILTIN, name)
IMPORT, BUILTIN = "import", "builtin"


@dataclass(frozen=True)
class Piece:
    """A statement of a module's top level: what it binds, its text, and where in it names are the module's."""

    module: str
    names: frozenset[str]
    lines: tuple[str, ...]
    uses: tuple[Use, ...]  # counted from the first of the lines
    line: int  # where it began


@dataclass(frozen=True)
class ModuleSource:
    """A module as pieces, by name; what its imports bind; statements that bind nothing, by the name they begin with."""

    docstring: str
    imports: Mapping[str, str]
    pieces: Mapping[str, Piece]
    effects: Mapping[str, Sequence[Piece]]


@cache
def read(module: str, text: str) -> ModuleSource:
    """A module's text in pieces, each with the comments before it and the text that documents it."""
    tree, lines = ast.parse(text), text.splitlines()
    imports: dict[str, str] = {}
    pieces: dict[str, Piece] = {}
    effects: defaultdict[str, list[Piece]] = defaultdict(list)
    end = 0
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        start, end = end, node.end_lineno or node.lineno
        if following is not None and _is_text(following):
            end = following.end_lineno or end
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports |= imported(node)
        elif isinstance(node, ast.If):  # for types
            imports |= {n: o for one in node.body if not _is_text(one) for n, o in imported(one).items()}
        elif not _is_text(node):
            piece = _piece(module, node, lines, start, end)
            pieces |= dict.fromkeys(piece.names, piece)
            if not piece.names and piece.uses:
                effects[piece.uses[0].name].append(piece)
    return ModuleSource(ast.get_docstring(tree) or "", imports, pieces, dict(effects))


def _piece(module: str, node: ast.stmt, lines: list[str], start: int, end: int) -> Piece:
    while not lines[start].strip():
        start += 1
    found = tuple(Use(use.name, use.line - start, use.column) for use in uses(node, lines))
    return Piece(module, frozenset(bound(node)), tuple(lines[start:end]), found, start)


def _in_order(lines: list[str]) -> list[str]:
    return sorted(lines, key=lambda line: (line.startswith("from"), line))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def imported(node: ast.AST) -> dict[str, str]:
    """What an import binds: name to what is imported, dotted."""
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
    assert isinstance(node, ast.ImportFrom), "an import"
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}


class Inliner:
    """What `roots` reach in `code`; `replaced` gives places another text, `taken` says what names stand for already."""

    def __init__(self, code: Code, replaced: Mapping[Place, str], taken: Mapping[str, Key]) -> None:
        self.code, self.replaced = code, replaced
        self.names = {name: (BUILTIN, name) for name in vars(builtins)} | dict(taken)
        self.found: dict[Piece, None] = {}
        self.meant: dict[Key, str] = {}  # what stands for what, in the file
        self.imports: dict[str, Key] = {name: key for name, key in taken.items() if key[0] == IMPORT}
        self._sources: dict[str, ModuleSource] = {}

    def source(self, module: str) -> ModuleSource:
        """A module of the package, read once."""
        if module not in self._sources:
            file = self.code.file(module)
            assert file is not None, f"there is no {module}"
            source = read(module, self.code.text(file))
            others = {name: text for (of, name), text in self.replaced.items() if of == module}
            pieces = {name: read(module, text).pieces[name] for name, text in others.items()}
            self._sources[module] = replace(source, pieces={**source.pieces, **pieces})
        return self._sources[module]

    def key(self, module: str, name: str) -> Key:
        """What a name in a module stands for."""
        source = self.source(module)
        if name in source.pieces:
            return module, name
        origin = source.imports.get(name)
        if origin is None:
            return BUILTIN, name
        return self.place(origin) if self.code.owns(origin) else (IMPORT, origin)

    def place(self, dotted: str) -> Place:
        """The one definition that a dotted name stands for."""
        places = list(self.code.find(dotted))
        assert len(places) == 1, f"{dotted} is no definition: {places[:3]}"
        return places[0]

    def take(self, roots: Iterable[Place]) -> None:
        """Follow all names from some places."""
        todo = [self.source(module).pieces[name] for module, name in roots]
        while todo:
            piece = todo.pop()
            if piece in self.found:
                continue
            self.found[piece] = None
            todo += (one for name in piece.names for one in self.source(piece.module).effects.get(name, ()))
            keys = (self.key(piece.module, use.name) for use in piece.uses)
            todo += (self.source(module).pieces[name] for module, name in keys if module not in (IMPORT, BUILTIN))

    @cached_property
    def modules(self) -> list[str]:
        """The modules of what was found, each after those whose definitions it uses."""
        needs: dict[str, set[str]] = {}
        for piece in self.found:
            keys = {self.key(piece.module, use.name)[0] for use in piece.uses}
            needs.setdefault(piece.module, set()).update(keys - {IMPORT, BUILTIN, piece.module})
        order = TopologicalSorter({module: sorted(needs[module]) for module in sorted(needs)})
        return list(order.static_order())

    def pieces(self, module: str) -> list[Piece]:
        """What was found of a module, in the order of the file."""
        return sorted((piece for piece in self.found if piece.module == module), key=lambda piece: piece.line)

    def name_all(self) -> None:
        """Give everything a name of its own in the file: the one that it has, where that is free."""
        places = {(piece.module, use.name) for piece in self.found for use in piece.uses}
        used = sorted((self.key(module, name), name, module) for module, name in places)
        for key, name, module in used:
            if key[0] == IMPORT:
                self.name(key, name, module)
        for module in self.modules:
            for piece in self.pieces(module):
                for name in sorted(piece.names):
                    self.name((module, name), name, module)
        for key, name, module in used:
            if key[0] == BUILTIN and hasattr(builtins, name):
                self.name(key, name, module)

    def name(self, key: Key, name: str, module: str) -> None:
        """Give one thing a name in the file: its own, or one told apart by its module's."""
        if key in self.meant:
            return
        known = next((n for n, k in self.names.items() if k == key), None)
        stem = "builtins" if key[0] == BUILTIN else module.rpartition(".")[2]
        choices = [known, name, f"{stem}_{name.lstrip('_')}", *(f"{stem}_{name.lstrip('_')}_{n}" for n in range(99))]
        free = next(c for c in choices if c is not None and self.names.get(c, key) == key)
        self.names[free], self.meant[key] = key, free
        if key[0] == IMPORT or (key[0] == BUILTIN and free != name):
            self.imports[free] = key

    def import_lines(self) -> list[str]:
        """The imports that the file begins with, the standard library's first."""
        modules, members = [], defaultdict(list)
        for name, (kind, origin) in sorted(self.imports.items()):
            parent, _, last = (f"builtins.{origin}" if kind == BUILTIN else origin).rpartition(".")
            if parent:
                members[parent].append(last if name == last else f"{last} as {name}")
            else:
                modules.append((origin, f"import {origin}" if name == origin else f"import {origin} as {name}"))
        lines = [*modules, *((parent, f"from {parent} import {', '.join(those)}") for parent, those in members.items())]
        ours = [line for origin, line in lines if origin.partition(".")[0] in sys.stdlib_module_names]
        others = [line for _, line in lines if line not in ours]
        return [*_in_order(ours), "", *_in_order(others)]

    def text(self, piece: Piece) -> str:
        """A piece as it stands in the file."""
        lines = [line.encode() for line in piece.lines]
        for use in reversed(piece.uses):
            name = self.meant.get(self.key(piece.module, use.name), use.name)
            if name != use.name:
                line, end = lines[use.line - 1], use.column + len(use.name.encode())
                assert line[use.column : end] == use.name.encode(), f"{use} is not at its place in {piece.module}"
                lines[use.line - 1] = line[: use.column] + name.encode() + line[end:]
        return b"\n".join(lines).decode()
