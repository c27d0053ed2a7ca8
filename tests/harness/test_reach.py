"""What a key rests on: an edit of any definition that is reached moves the keys that reach it, and no other."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

from asiarc.campaign.code import DATA, DECIDES_NOTHING, ENTRIES, ROOTS, STOPS, kernel, reached
from asiarc.core.reach import Code, installed
from asiarc.tasks.task import _code as task_code

HERE = installed()
KERNELS = [f"{name}/{backend}" for name in ("gla", "delta_rule", "fir") for backend in ("chunk", "triton")]
TASKS = ("text", "overwrite", "parity")


def keys(code):
    return {
        **{entry: reached(entry, code).whole for entry in ENTRIES},
        **{name: kernel(*name.split("/"), code) for name in KERNELS},
        **{f"task {name}": task_code(name, code) for name in TASKS},
    }


@pytest.fixture(scope="module")
def before():
    return keys(HERE)


def moved(before, edits):
    after = keys(Code(HERE.folder, edits))
    return {name for name, value in after.items() if value != before[name]}


def node_of(text, dotted):
    """The syntax tree of a definition, ``Class.method`` for a method."""
    nodes = ast.parse(text).body
    for name in dotted.split("."):
        node = next(
            n
            for n in nodes
            if getattr(n, "name", "") == name
            or name in {t.id for t in getattr(n, "targets", [getattr(n, "target", None)]) if isinstance(t, ast.Name)}
        )
        nodes = getattr(node, "body", [])
    return node


def changed(text, dotted):
    """A text in which one definition computes something else: a function or class by a statement more, a value by
    another around it."""
    node, lines = node_of(text, dotted), text.splitlines()
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        first = node.body[0]
        return "\n".join([*lines[: first.lineno - 1], " " * first.col_offset + "changed = 1", *lines[first.lineno - 1 :]])
    value = ast.get_source_segment(text, node.value)
    return text.replace(ast.get_source_segment(text, node), ast.get_source_segment(text, node).replace(value, f"({value}, 1)"))


def file_of(module):
    file = HERE.file(module)
    assert file is not None, module
    return file


MOVES = {
}


@pytest.mark.parametrize("place", MOVES)
def test_an_edit_moves_what_rests_on_it_and_nothing_else(place, before):
    module, _, name = place.partition(":")
    file = file_of(module)
    text = changed(file.read_text(), name)
    assert moved(before, {file: text}) == set(filter(None, MOVES[place].split(", ")))
