"""Whose a name is, against Python's own symbol tables, on every statement of the package."""

from __future__ import annotations

import ast
import symtable

import pytest

from asiarc.core.reach import installed
from asiarc.export.scopes import bound, uses

CODE = installed()
FOLDERS = [CODE.kernels, *(CODE.folder / name for name in ("core", "models", "models/baselines", "export"))]


def tables(table):
    yield table
    for child in table.get_children():
        yield from tables(child)


def by_python(text):
    """The names that a statement looks up in its module, or binds there, as the compiler sees them."""
    found = set()
    for table in tables(symtable.symtable(text, "statement", "exec")):
        for symbol in table.get_symbols():
            if table.get_type() == "module" or symbol.is_global():
                found.add(symbol.get_name())
    return found


def imports(node):
    return isinstance(node, (ast.Import, ast.ImportFrom))


def read_of_the_module_too(node):
    """What a class body binds with the module's value of the same name: both, which a symbol table cannot say."""
    bodies = (one.body for one in ast.walk(node) if isinstance(one, ast.ClassDef))
    fields = [one for body in bodies for one in body if isinstance(one, ast.AnnAssign)]
    return {f.target.id for f in fields if isinstance(f.value, ast.Name) and f.value.id == f.target.id}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_names_are_those_that_the_compiler_finds(folder):
    for file in folder.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if any(imports(inner) for inner in ast.walk(node)):  # an import binds, and no name of it stands in the text
                continue
            alone = ast.get_source_segment(text, node, padded=True)
            decorators = [f"@{ast.unparse(d)}\n" for d in getattr(node, "decorator_list", [])]
            found = {use.name for use in uses(node, text.splitlines())} - read_of_the_module_too(node)
            assert found == by_python("".join(decorators) + alone), f"{file.name}, line {node.lineno}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = y", ["x", "y"]),
        ("def f(a, b=c) -> d: return a + e", ["f", "c", "d", "e"]),
        ("class A(B):\n    x: C = x\n    y = x\n    def f(self): return x", ["A", "B", "C", "x", "x"]),
        ("y = [x for x in x]", ["y", "x"]),
        ("f = lambda a: (a, b)", ["f", "b"]),
        ("def f():\n    def g(): return h\n    return g", ["f", "h"]),
        ("def f():\n    if (n := g()): return n", ["f", "g"]),
        ("def f():\n    global n\n    n = 1", ["f", "n"]),
        ("async  def  f(): return g", ["f", "g"]),
        ("def f(x):\n    match x:\n        case [y, *z]: return y, z, w", ["f", "w"]),
    ],
)
def test_each_place_once(text, expected):
    (node,) = ast.parse(text).body
    found = uses(node, text.splitlines())
    assert sorted(use.name for use in found) == sorted(expected)
    for use in found:
        assert text.splitlines()[use.line - 1].encode()[use.column :].startswith(use.name.encode())


def test_columns_are_bytes():
    (node,) = ast.parse('é = "é" + f').body
    assert [(use.name, use.column) for use in uses(node, ['é = "é" + f'])] == [("é", 0), ("f", 12)]


def test_what_is_bound():
    assert bound(ast.parse("(a, b.c), *d = e").body[0]) == {"a", "d"}
    assert bound(ast.parse("try:\n    import x.y\nexcept E as e: z = 1").body[0]) == {"x", "e", "z"}
