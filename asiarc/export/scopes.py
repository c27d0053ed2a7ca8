"""Which names in a statement are looked up in its module: read from the syntax tree, by Python's own rules.

A name that a function, lambda or comprehension binds is its own, as is one that a class body has bound before it is
read there; every other name is the module's, an import's or a builtin.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, *_COMPREHENSIONS)


@dataclass(frozen=True)
class Use:
    """One place where a module's name stands: line from 1, column in bytes of UTF-8 from 0."""

    name: str
    line: int
    column: int


def uses(statement: ast.stmt, lines: Sequence[str]) -> list[Use]:
    """The places in a statement of a module's top level where a name is the module's; what it binds among them."""
    reader = _ScopeReader(lines)
    reader.statement(statement)
    return sorted(reader.found, key=lambda use: (use.line, use.column))


def bound(statement: ast.stmt) -> set[str]:
    """The names that a statement binds where it stands."""
    return set(_bound([statement]))


def _bound(body: Sequence[ast.AST]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.Name(name, ast.Store() | ast.Del()):
                yield name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
        if isinstance(node, _COMPREHENSIONS):
            yield from (walrus.target.id for walrus in ast.walk(node) if isinstance(walrus, ast.NamedExpr))
        elif not isinstance(node, _SCOPES):
            yield from _bound(list(ast.iter_child_nodes(node)))


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [one for one in every if one is not None]


class _ScopeReader:
    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.found: list[Use] = []
        self.scopes: list[set[str]] = []  # of the functions around
        self.of_class: set[str] | None = None  # what the class body that is being read has bound so far

    def statement(self, node: ast.AST) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.function(node)
            case ast.ClassDef():
                self.of_a_class(node)
            case ast.Lambda():
                self.all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
                self.inside({one.arg for one in _parameters(node.args)}, [node.body])
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                self.comprehension(node)
            case ast.Name():
                self.note(node.id, node.lineno, node.col_offset)
            case ast.Import() | ast.ImportFrom():
                pass
            case ast.AnnAssign():
                self.all([*filter(None, [node.annotation, node.value]), node.target])
            case ast.Assign():
                self.all([node.value, *node.targets])
            case _:
                self.all(ast.iter_child_nodes(node))

    def all(self, nodes: Iterator[ast.AST] | Sequence[ast.AST]) -> None:
        for node in nodes:
            self.statement(node)

    def note(self, name: str, line: int, column: int) -> None:
        mine = any(name in scope for scope in self.scopes)
        if not mine and not (self.of_class is not None and name in self.of_class):
            self.found.append(Use(name, line, column))

    def inside(self, names: set[str], body: Sequence[ast.AST]) -> None:
        """Read what a scope holds: a class around it is not seen from there."""
        of_class, self.of_class = self.of_class, None
        self.scopes.append(names)
        self.all(body)
        self.scopes.pop()
        self.of_class = of_class

    def defined(self, node: Function | ast.ClassDef) -> None:
        """The name that a definition binds, at the place where it is written."""
        if self.of_class is None:
            line = self.lines[node.lineno - 1].encode()
            found = re.compile(rb"(?:async\s+)?(?:def|class)\s+").match(line, node.col_offset)
            assert found is not None, line
            self.note(node.name, node.lineno, found.end())

    def function(self, node: Function) -> None:
        annotations = [one.annotation for one in _parameters(node.args)]
        self.all([n for n in (*node.decorator_list, *annotations, node.returns) if n is not None])
        self.all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
        self.defined(node)
        shared = {name for n in ast.walk(node) if isinstance(n, ast.Global) for name in n.names}
        self.inside(set(_bound(node.body)) - shared | {one.arg for one in _parameters(node.args)}, node.body)

    def of_a_class(self, node: ast.ClassDef) -> None:
        self.all([*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)])
        self.defined(node)
        around, self.of_class = self.of_class, set()
        for one in node.body:
            after = self.of_class | set(_bound([one]))
            binds = isinstance(one, (ast.Assign, ast.AnnAssign))
            self.of_class = self.of_class if binds else after
            before = len(self.found)
            self.statement(one)
            if binds:  # what it binds here is the class's, what it reads may be the module's under the same name
                names = [n for n in ast.walk(one) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
                targets = {(n.lineno, n.col_offset) for n in names}
                self.found[before:] = [u for u in self.found[before:] if (u.line, u.column) not in targets]
            self.of_class = after
        self.of_class = around

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self.statement(node.generators[0].iter)
        names = {name for one in node.generators for name in _bound([one.target])}
        kept, node.generators[0].iter = node.generators[0].iter, ast.Constant(None)
        self.inside(names, list(ast.iter_child_nodes(node)))
        node.generators[0].iter = kept
