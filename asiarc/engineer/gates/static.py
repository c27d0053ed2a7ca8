"""What the source may say: read as a syntax tree, before any of it runs.

An allow-list throughout: of kinds of syntax, of names, of paths into modules and of attributes (`vocabulary.py`). An
attribute is one however it is reached: by a dot, by `getattr`, by a pattern of `match`, by a method that answers to it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from torch import nn
from torch.autograd import Function

from asiarc.core.candidate import as_run, dotted
from asiarc.core.errors import nearest
from asiarc.engineer.gates import vocabulary
from asiarc.engineer.gates.gate import Cost, Finding, Gate, Verdict
from asiarc.engineer.gates.subject import Subject
from asiarc.engineer.gates.vocabulary import BUILTINS, DUNDERS, KERNELS, MODULES, leads, offers

MAX_NUMBERS = 256  # numbers spelled out in a source; a design needs a few dozen, weights need thousands
MAX_STRING = 200
MAX_TEXTS = 64  # texts that one expression may be and still be followed

NODES = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.FunctionDef, ast.ClassDef, ast.arguments, ast.arg, ast.keyword,
    ast.Return, ast.Delete, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For, ast.While, ast.If, ast.With, ast.withitem,
    ast.Match, ast.match_case, ast.pattern, ast.Raise, ast.Try, ast.ExceptHandler, ast.Assert, ast.Expr, ast.Pass,
    ast.Break, ast.Continue, ast.BoolOp, ast.NamedExpr, ast.BinOp, ast.UnaryOp, ast.Lambda, ast.IfExp, ast.Dict, ast.Set,
    ast.ListComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Compare, ast.Call, ast.FormattedValue,
    ast.JoinedStr, ast.Constant, ast.Attribute, ast.Subscript, ast.Starred, ast.Name, ast.List, ast.Tuple, ast.Slice,
    ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
INSTEAD = {
    ast.Global: "keep what lasts between calls in the state that forward returns",
    ast.Nonlocal: "keep what lasts between calls in the state that forward returns",
    ast.Yield: "a generator remembers where it stopped; return a list",
    ast.SetComp: "the order of a set differs from process to process; use a list",
}
BY_TEXT = frozenset({"getattr", "hasattr", "setattr"})
NOT_REBOUND = BY_TEXT | {"frozenset", "set", "str", "super", "type"}
# Exceptions that hold a text, and nothing that could be asked for it.
RAISED = frozenset({
    "ArithmeticError", "AssertionError", "Exception", "IndexError", "KeyError", "LookupError", "NotImplementedError",
    "OverflowError", "RuntimeError", "TypeError", "ValueError", "ZeroDivisionError",
})  # fmt: skip
# Calls that make what cannot change, of what cannot.
FREEZES = frozenset({
    "collections.namedtuple", "dataclasses.field", "frozenset", "functools.partial", "torch.Size", "torch.device",
    "torch.finfo", "tuple", "types.MappingProxyType", "typing.NamedTuple", "typing.NewType", "typing.TypeVar",
})  # fmt: skip
COUNTS = frozenset({"abs", "bool", "complex", "float", "int", "len", "max", "min", "pow", "range", "round", "sum"})
READS = frozenset({
    "all", "any", "dict", "enumerate", "filter", "iter", "len", "list", "map", "max", "min", "reversed", "sorted", "sum",
    "tuple", "zip", "get", "items", "keys", "values", "index", "count",
})  # fmt: skip
NAMES_A_PART = frozenset({"add_module", "register_buffer", "register_module", "register_parameter", "setattr"})
# Methods that torch calls and a candidate writes; the second kind while gradients are taken.
WRITTEN = DUNDERS | {"extra_repr", "forward", "reset_parameters", "setup_context"}
BACKWARD = frozenset({"backward", "jvp", "vjp", "vmap"})
BASES = frozenset({"object", "typing.NamedTuple", "typing.Generic", "typing.Protocol"}) | RAISED
ADDRESS = "a text made of a value can tell where that lies in memory"
ORDER = "the order of a set differs from process to process"


class Fault(NamedTuple):
    """Where, what is wrong, and what would be allowed instead."""

    node: ast.AST
    reason: str
    instead: str


class Static(Gate):
    """Mathematics on tensors and nothing that leads out of it: no module as a value, no state outside the mixer, no
    hooks, no addresses, no weights spelled out.

    Cannot see what a program does: the sandbox contains it and the other gates run it.
    """

    name = "static"
    cost = Cost.STATIC

    def check(self, subject: Subject) -> Finding | None:
        """The first fault by place; a warning where something was dropped before the source runs."""
        tree, dropped = as_run(subject.source)
        for fault in sorted(_Source(tree).faults(), key=lambda fault: _place(fault.node)):
            return self._told(fault, subject.source, "rejected")
        for node in dropped:
            what = "a compiler does not run here" if isinstance(node, ast.expr) else "this block never runs"
            return self._told(Fault(node, f"dropped, as {what}", "leave it out"), subject.source, "warned")
        return None

    def _told(self, fault: Fault, source: str, verdict: Verdict) -> Finding:
        line, column = _place(fault.node)
        text = source.splitlines()[line - 1].strip()[:MAX_STRING] if line else ""
        reason = f"line {line}, column {column + 1}: {fault.reason}; instead: {fault.instead}. The line says: {text}"
        return Finding(self.name, verdict, reason, {"line": line, "column": column + 1}, fault.instead, text)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


class _Source:
    """The rules, over one syntax tree."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.nodes = list(ast.walk(tree))
        self.parent = {id(child): node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.bindings = [pair for node in self.nodes for pair in _bindings(node)]
        self.bound = Counter(name for name, _ in self.bindings)
        self.imported = {name: path for node in self.nodes for name, path in _imports(node)}
        self.top = {name for statement in tree.body for name in _made_by(statement)}

    def faults(self) -> Iterator[Fault]:
        """Every fault, in no order."""
        for node in self.nodes:
            if not isinstance(node, NODES):
                instead = INSTEAD.get(type(node), "assignments, calls, loops, branches and functions")
                yield Fault(node, f"{type(node).__name__} is not among the syntax of candidates", instead)
            yield from _RULES.get(type(node), _no_rule)(self, node)
        yield from self._rebound()
        yield from self._constants()

    # --- names ---

    def _rebound(self) -> Iterator[Fault]:
        """A module, and a builtin that may not be used freely, mean one thing throughout."""
        modules = {(name, path) for node in self.nodes for name, path in _imports(node) if _is_module(path)}
        times = Counter(name for node in self.nodes for name, path in _imports(node) if (name, path) in modules)
        several = {name for name, n in Counter(name for name, _ in modules).items() if n > 1}
        for name, node in self.bindings:
            if name in several or (name in times and self.bound[name] > times[name]):
                yield Fault(node, f"{name} is a module here and something else elsewhere", "a name for each")
            elif name in vars(builtins) and (name not in BUILTINS or name in NOT_REBOUND) and name != "input":
                yield Fault(node, f"{name} is the interpreter's", "another name")

    def _name(self, node: ast.Name) -> Iterator[Fault]:
        if not isinstance(node.ctx, ast.Load):
            if self._in_class(node) or (node.id.startswith("__") and node.id != "__all__"):
                yield from self._made(node, node.id)
        elif node.id in self.imported:
            if not isinstance(self.parent[id(node)], ast.Attribute):
                yield from _path_faults(node, self.imported[node.id])
        elif node.id in self.tables and not self._only_reads(node):
            yield Fault(node, f"{node.id} could be changed through this, and lasts between calls", "read or copy it")
        elif node.id not in self.bound:
            yield from self._builtin(node)

    def _builtin(self, node: ast.Name) -> Iterator[Fault]:
        above = self.parent[id(node)]
        called = isinstance(above, ast.Call) and above.func is node
        if node.id not in BUILTINS:
            yield _not_among(node, "names", node.id, BUILTINS | set(self.bound))
        elif node.id in BY_TEXT | {"super"} and not called:
            yield Fault(node, f"{node.id} is no value to pass on", f"call {node.id}() where it stands")
        elif node.id == "type" and not (called or isinstance(above, (ast.Subscript, ast.Compare))):
            yield Fault(node, "type is no value to pass on", "call type(x) where it stands")
        elif node.id == "str" and id(node) not in self.said and not self._as_type(node):
            yield Fault(node, ADDRESS, "text belongs in error messages")

    def _as_type(self, node: ast.AST) -> bool:
        """Whether a name stands in an annotation, a subscript, a pattern or as what isinstance asks for."""
        below, above = node, self.parent[id(node)]
        while isinstance(above, (ast.Tuple, ast.BinOp)):
            below, above = above, self.parent[id(above)]
        asked = isinstance(above, ast.Call) and dotted(above.func) == "isinstance" and below is not above.args[0]
        subscript = isinstance(above, ast.Subscript) and below is above.slice
        return asked or subscript or isinstance(above, (ast.MatchClass, ast.arg, ast.AnnAssign, ast.FunctionDef))

    def _in_class(self, node: ast.AST) -> bool:
        above = self.parent[id(node)]
        while isinstance(above, (ast.Assign, ast.AnnAssign, ast.Tuple, ast.List, ast.Starred)):
            above = self.parent[id(above)]
        return isinstance(above, (ast.ClassDef, ast.NamedExpr))

    # --- modules ---

    def _import(self, node: ast.Import) -> Iterator[Fault]:
        for alias in node.names:
            if alias.name not in MODULES:
                yield _not_among(node, "modules", alias.name, MODULES)

    def _import_from(self, node: ast.ImportFrom) -> Iterator[Fault]:
        module = "." * node.level + (node.module or "")
        if module not in MODULES and not leads(module):
            yield _not_among(node, "modules", module, MODULES)
            return
        for alias in node.names:
            yield from _path_faults(node, f"{module}.{alias.name}", imported=True)

    def _attribute(self, node: ast.Attribute) -> Iterator[Fault]:
        if isinstance(self.parent[id(node)], ast.Attribute):
            return  # the whole path is looked at where it ends
        root, names = _trail(node)
        if isinstance(root, ast.Name) and root.id in self.imported:
            path = ".".join([self.imported[root.id], *names])
            yield from _path_faults(node, path)
            names = _split(path)[2]
        stored = not isinstance(node.ctx, ast.Load)
        for name in names[:-1] if stored else names:
            yield from self._read(node, name)
        if stored:
            yield from self._written(node, node.attr)

    # --- attributes ---

    def _read(self, node: ast.AST, name: str) -> Iterator[Fault]:
        """An attribute of a value, however it is reached."""
        asked_for_none = name == "grad_fn" and _is_compared_with_none(self.parent[id(node)])
        if name not in self.known and not asked_for_none and not (name == "format" and id(node) in self.said):
            yield _not_among(node, "attributes", name, self.known)

    def _written(self, node: ast.Attribute | ast.Subscript, name: str) -> Iterator[Fault]:
        root = _root(node.value)
        if isinstance(root, ast.Call):
            yield Fault(node, f"assigns to .{name} of what a call gave: state outside the mixer", "assign to self")
        elif isinstance(root, ast.Name) and root.id in {*self.imported, *self.top, *self._class_names}:
            yield Fault(node, f"assigns to .{name} of {root.id}, for everyone", "assign to self")
        yield from self._made(node, name)

    def _made(self, node: ast.AST, name: str) -> Iterator[Fault]:
        """An attribute, a method or a part under a name of the candidate's own."""
        method = isinstance(node, ast.FunctionDef) and name in WRITTEN | BACKWARD
        machinery = name.startswith("__") or name in vocabulary.reserved() or name in vocabulary.answered_by_torch()
        if machinery and not method and name != "__constants__":
            yield Fault(node, f"{name} is torch's or the interpreter's to make", "another name")

    @cached_property
    def known(self) -> set[str]:
        """Attributes that may be read: those of any value, and those that the source makes itself."""
        stored = {n.attr for n in self.nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        in_classes = {n for c in self.nodes if isinstance(c, ast.ClassDef) for s in c.body for n in _made_by(s)}
        named = {text for call in self.nodes if isinstance(call, ast.Call) for text in self._parts(call)}
        own = {n for n in stored | in_classes | named if not n.startswith("__")} - vocabulary.reserved()
        return own | vocabulary.attributes() | {"__init__"}

    def _parts(self, call: ast.Call) -> set[str]:
        """Names of the parts, buffers and fields that a call makes."""
        name = dotted(call.func).rpartition(".")[2]
        if name == "namedtuple":
            fields = [n.value for a in call.args[1:] for n in ast.walk(a) if isinstance(n, ast.Constant)]
            return {part for field in map(str, fields) for part in field.replace(",", " ").split()}
        place = 1 if name == "setattr" else 0
        return (self._texts(call.args[place]) or set()) if name in NAMES_A_PART and len(call.args) > place else set()

    @cached_property
    def _class_names(self) -> set[str]:
        """Names under which class methods know their class."""
        methods = [f for f in self.nodes if isinstance(f, ast.FunctionDef) and f.args.args]
        return {f.args.args[0].arg for f in methods if "classmethod" in map(dotted, f.decorator_list)}

    def _call(self, node: ast.Call) -> Iterator[Fault]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        plain = not node.keywords and not any(isinstance(a, ast.Starred) for a in node.args)
        if name in BY_TEXT:
            texts = self._texts(node.args[1]) if plain and len(node.args) > 1 else None
            if texts is None:
                yield Fault(node, f"{name} of a name that is not spelled out", f"{name}(self, 'name')")
            for text in texts or ():
                yield from self._made(node, text) if name == "setattr" else self._read(node, text)
            if name == "setattr" and not (plain and dotted(node.args[0]) == "self"):
                yield Fault(node, "setattr on something else than self", "setattr(self, 'name', value)")
        elif name == "type" and not (plain and len(node.args) == 1):
            yield Fault(node, "type() with three arguments makes a class unseen", "type(x)")
        elif name in ("set", "frozenset") and not all(map(_is_constant, node.args)):
            yield Fault(node, ORDER, "a tuple, a list or a dict")

    def _pattern(self, node: ast.MatchClass) -> Iterator[Fault]:
        for name in node.kwd_attrs:
            yield from self._read(node, name)

    # --- text ---

    @cached_property
    def said(self) -> set[int]:
        """Nodes of the messages of what is raised or asserted, and of what `extra_repr` returns."""
        calls = [n.exc for n in self.nodes if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
        messages = [a for call in calls if dotted(call.func) in RAISED - set(self.bound) for a in call.args]
        messages += [n.msg for n in self.nodes if isinstance(n, ast.Assert) and n.msg]
        shown = [f for f in self.nodes if isinstance(f, ast.FunctionDef) and f.name == "extra_repr"]
        messages += [r.value for f in shown for r in f.body if isinstance(r, ast.Return) and r.value]
        return {id(node) for message in messages for node in _spoken(message)}

    def _text(self, node: ast.JoinedStr) -> Iterator[Fault]:
        if id(node) not in self.said and self._texts(node) is None:
            yield Fault(node, ADDRESS, "counters and spelled-out texts, or an error message")

    def _texts(self, node: ast.AST) -> set[str] | None:
        """The texts that an expression can be, one for all values of a counter; None where that cannot be told."""
        match node:
            case ast.Constant(str(value)):
                return {value}
            case ast.Name(name):
                return self.loops.get(name)
            case ast.FormattedValue(value, -1, None):
                return self._texts(value)
            case ast.JoinedStr(parts):
                pass
            case ast.BinOp(left, ast.Add(), right):
                parts = [left, right]
            case _:
                return None
        joined = {""}
        for part in parts:
            texts = self._texts(part)
            if texts is None or len(texts) * len(joined) > MAX_TEXTS:
                return None
            joined = {head + tail for head in joined for tail in texts}
        return joined

    @cached_property
    def loops(self) -> dict[str, set[str]]:
        """Name -> the texts that it takes, of names that only loops over counters and spelled-out texts bind."""
        loops = [n for n in self.nodes if isinstance(n, (ast.For, ast.comprehension))]
        pairs = [pair for loop in loops for pair in _looped(loop.target, loop.iter)]
        times = Counter(name for name, _ in pairs)
        taken = {name: {text for other, texts in pairs if other == name for text in texts} for name in times}
        return {name: texts for name, texts in taken.items() if times[name] == self.bound[name]}

    def _remainder(self, node: ast.BinOp) -> Iterator[Fault]:
        text = isinstance(node.left, ast.JoinedStr) or (
            isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
        )
        if isinstance(node.op, ast.Mod) and text and id(node) not in self.said:
            yield Fault(node, ADDRESS, "text belongs in error messages")

    def _set(self, node: ast.Set) -> Iterator[Fault]:
        if not _is_constant(node):
            yield Fault(node, ORDER, "a tuple, a list or a dict")

    def _constants(self) -> Iterator[Fault]:
        documentation = {id(n.value) for n in self.nodes if isinstance(n, ast.Expr)}
        constants = [n for n in self.nodes if isinstance(n, ast.Constant) and id(n) not in documentation]
        for node in constants:
            value = node.value
            if isinstance(value, bytes) or (isinstance(value, str) and (len(value) > MAX_STRING or "__" in value)):
                yield Fault(
                    node, "bytes, long texts and dunders can hide weights or code", f"up to {MAX_STRING} letters"
                )
            elif isinstance(value, str) and "%" in value and id(node) not in self.said:
                yield Fault(node, f"a text with % is to be filled in, and {ADDRESS}", "text without %")
            elif isinstance(value, int) and abs(value) >= 2**64:
                yield Fault(node, "an integer this long can hide weights", "a float such as 1e30")
        numbers = [n for n in constants if isinstance(n.value, (int, float, complex))]
        for node in numbers[MAX_NUMBERS : MAX_NUMBERS + 1]:
            yield Fault(node, f"spells out more than {MAX_NUMBERS} numbers", "weights are trained, not written")

    # --- what stands outside functions ---

    def _body(self, node: ast.Module | ast.ClassDef) -> Iterator[Fault]:
        at_top = isinstance(node, ast.Module)
        allowed = (ast.FunctionDef, ast.ClassDef, ast.Pass, *((ast.Import, ast.ImportFrom) if at_top else ()))
        for statement in node.body:
            if isinstance(statement, (ast.Assign, ast.AnnAssign)):
                value, names = statement.value, [*_made_by(statement)]
                listed = names in (["__all__"], ["__constants__"]) and value and _is_constant(value)
                if value and not (listed or self._immutable(value) or (at_top and self._is_table(value))):
                    yield Fault(
                        statement,
                        "a value outside a function that can change is global state",
                        "make it in __init__, or of numbers, text, tuples and MappingProxyType",
                    )
            elif not isinstance(statement, allowed) and not _is_text(statement):
                yield Fault(statement, "code that runs when it is loaded", "imports, constants, functions, classes")

    @cached_property
    def tables(self) -> set[str]:
        """Names of lists and dicts at module level, which are constants as long as they are only read."""
        held = [s for s in self.tree.body if isinstance(s, (ast.Assign, ast.AnnAssign)) and s.value]
        return {name for s in held if not self._immutable(s.value) for name in _made_by(s)}  # type: ignore[arg-type]

    def _is_table(self, value: ast.expr) -> bool:
        parts = [part for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)]
        whole = isinstance(value, (ast.List, ast.DictComp)) or (isinstance(value, ast.Dict) and None not in value.keys)
        return whole and all(map(self._immutable, parts))

    def _only_reads(self, node: ast.Name) -> bool:
        match self.parent[id(node)]:
            case ast.Subscript(value, _, ast.Load()):
                return value is node
            case ast.Attribute(_, name):
                return name in READS
            case ast.Call(ast.Name(name)):
                return name in READS and name not in self.bound
            case ast.For(_, over) | ast.comprehension(_, over):
                return over is node
            case ast.Compare() | ast.Starred() | ast.keyword(None):
                return True
        return False

    def _immutable(self, value: ast.expr) -> bool:
        """Numbers, text, names, functions, tuples of them, arithmetic on them, types, and calls that freeze."""
        if isinstance(value, (ast.Constant, ast.Name, ast.Lambda, ast.Set)):
            return True
        if isinstance(value, ast.Subscript):
            return self._immutable(value.value) and not any(isinstance(n, ast.Call) for n in ast.walk(value.slice))
        if isinstance(value, ast.Call):
            maker = self._path(value.func)
            given = [*value.args, *(k.value for k in value.keywords)]
            counts = maker in COUNTS - set(self.bound) or maker.startswith("math.")
            frozen = maker in FREEZES - set(self.bound)
            return (counts or frozen) and all(self._immutable(a) or (frozen and self._is_table(a)) for a in given)
        kinds = (
            ast.Attribute, ast.Tuple, ast.Subscript, ast.Slice, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp,
            ast.GeneratorExp, ast.Starred,
        )  # fmt: skip
        parts = [part for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)]
        return isinstance(value, kinds) and all(map(self._immutable, parts))

    # --- classes ---

    def _class(self, node: ast.ClassDef) -> Iterator[Fault]:
        yield from self._body(node)
        if node.keywords:
            yield Fault(
                node, "a class with a metaclass can change how others are made", f"class {node.name}(nn.Module)"
            )
        bases = [self._path(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
        kinds = [_object(path) for path in bases]
        for path, kind in zip(bases, kinds, strict=True):
            layer = isinstance(kind, type) and issubclass(kind, (nn.Module, Function))
            if not (layer or path in BASES or path in self.bound):
                yield Fault(node, f"a class of {path} can answer for torch, or for its own size", "nn.Module as base")
        for statement in node.body:
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                yield from self._made(statement, statement.name)
                if isinstance(statement, ast.FunctionDef) and statement.name in BACKWARD and Function in kinds:
                    yield from self._backward(statement)

    def _backward(self, method: ast.FunctionDef) -> Iterator[Fault]:
        """Gradients are computed from what was given, and nothing of that is changed."""
        given = {arg.arg for arg in ast.walk(method.args) if isinstance(arg, ast.arg)}
        nodes = [node for statement in method.body for node in ast.walk(statement)]
        for node in nodes:
            if isinstance(node, ast.Assign) and _is_part_of(node.value, given):
                given |= {*_made_by(node)}
        for node in nodes:
            if any(_is_part_of(value, given) for value in self._changed(node)):
                yield Fault(node, f"{method.name} changes what it was given", "compute and return gradients")

    def _changed(self, node: ast.AST) -> list[ast.expr]:
        """What a statement or an expression changes in place."""
        match node:
            case ast.Attribute(value, _, ast.Store() | ast.Del()) | ast.Subscript(value, _, ast.Store() | ast.Del()):
                return [value]
            case ast.AugAssign(target):
                return [target]
            case ast.Call(ast.Attribute(value, name), args, keywords):
                root, _ = _trail(value)
                by_path = isinstance(root, ast.Name) and root.id in self.imported
                in_place = name.endswith("_") or name in vocabulary.CHANGES_A_CONTAINER
                return [k.value for k in keywords if k.arg == "out"] + (args[:1] if by_path else [value]) * in_place
        return []

    def _path(self, node: ast.expr) -> str:
        root, dot, rest = dotted(node).partition(".")
        return self.imported.get(root, root) + dot + rest


def _no_rule(source: _Source, node: ast.AST) -> Iterator[Fault]:
    return iter(())


_RULES: dict[type, Callable[[_Source, Any], Iterator[Fault]]] = {
    ast.Import: _Source._import,
    ast.ImportFrom: _Source._import_from,
    ast.Name: _Source._name,
    ast.Attribute: _Source._attribute,
    ast.Call: _Source._call,
    ast.JoinedStr: _Source._text,
    ast.BinOp: _Source._remainder,
    ast.Set: _Source._set,
    ast.Module: _Source._body,
    ast.ClassDef: _Source._class,
    ast.MatchClass: _Source._pattern,
}


def _not_among(node: ast.AST, kind: str, name: str, allowed: Collection[str]) -> Fault:
    close = nearest(name, sorted(allowed), cutoff=0.7) if not name.startswith("__") else None
    instead = close or "mathematics on tensors by torch, math, einops and asiarc.kernels"
    return Fault(node, f"{name} is not among the {kind} of candidates", instead)


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Name in the source, dotted path of what was imported under it."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The names that a node itself binds."""
    match node:
        case ast.Name(name, ast.Store()) | ast.arg(name) | ast.FunctionDef(name) | ast.ClassDef(name):
            yield name, node
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(str(name)):
            yield name, node
        case ast.MatchMapping(rest=str(name)):
            yield name, node
        case ast.Import() | ast.ImportFrom():
            yield from ((name, node) for name, _ in _imports(node))


def _made_by(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement outside functions makes."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", statement)]
    for target in targets:
        nodes = ast.walk(target) if isinstance(target, ast.expr) else [target]
        yield from (name for node in nodes for name, _ in _bindings(node))


def _split(path: str) -> tuple[str, str, list[str]]:
    """A dotted path from a module: the last module on it, what is taken of that (or nothing), attributes of this."""
    parts = path.split(".")
    depth = 1
    while depth < len(parts) and leads(".".join(parts[: depth + 1])):
        depth += 1
    return ".".join(parts[:depth]), "".join(parts[depth : depth + 1]), parts[depth + 1 :]


def _path_faults(node: ast.AST, path: str, *, imported: bool = False) -> Iterator[Fault]:
    module, name, _ = _split(path)
    if name and name not in offers(module):
        choices = [f"{module}.{offered}" for offered in offers(module)]
        yield _not_among(
            node, "paths", f"{module}.{name}", [*choices, *(m for m in MODULES if m.startswith(f"{module}."))]
        )
    elif not name and not imported:
        last = path.rpartition(".")[2]
        own = f"from {path} import {last}" if path.startswith(f"{KERNELS}.") else f"{path}.NAME with what is used of it"
        yield Fault(node, f"{path} is a module and no value", own)


def _object(path: str) -> Any:
    """What stands at a dotted path, None where a candidate may take nothing there."""
    module, name, rest = _split(path)
    found: Any = importlib.import_module(module) if module in MODULES else None
    return found if not name else getattr(found, name, None) if name in offers(module) and not rest else None


def _is_module(path: str) -> bool:
    return not _split(path)[1] and leads(path)


def _trail(node: ast.Attribute) -> tuple[ast.expr, list[str]]:
    """What the attributes are asked of, and their names in order."""
    names: list[str] = []
    value: ast.expr = node
    while isinstance(value, ast.Attribute):
        names.insert(0, value.attr)
        value = value.value
    return value, names


def _root(node: ast.expr) -> ast.expr:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node


def _is_compared_with_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Compare) and all(
        isinstance(c, ast.Constant) and c.value is None for c in node.comparators
    )


def _is_constant(node: ast.expr) -> bool:
    listed = isinstance(node, (ast.Tuple, ast.List, ast.Set))
    return all(isinstance(item, ast.Constant) for item in node.elts) if listed else isinstance(node, ast.Constant)  # type: ignore[attr-defined]


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, (str, type(...)))


def _spoken(message: ast.expr) -> Iterator[ast.AST]:
    """The nodes of a message whose text goes into it and nowhere else."""
    yield message
    match message:
        case ast.JoinedStr(parts):
            yield from parts
        case ast.BinOp(left, _, right) | ast.IfExp(_, left, right):
            yield from _spoken(left)
            yield from _spoken(right)
        case ast.Call(ast.Attribute(value, "format") as method):
            yield from (method, value)
        case ast.Call(ast.Name("str") as func):
            yield func


def _looped(target: ast.expr, over: ast.expr) -> Iterator[tuple[str, set[str]]]:
    """Names that a loop binds, with the texts that they take; "0" stands for every value of a counter."""
    match target, over:
        case ast.Name(name), ast.Call(ast.Name("range")):
            yield name, {"0"}
        case ast.Name(name), ast.Tuple(items) | ast.List(items) if items and _is_constant(over):
            yield name, {str(item.value) for item in items}
        case ast.Tuple([ast.Name(name), rest]), ast.Call(ast.Name("enumerate"), [inner, *_]):
            yield name, {"0"}
            yield from _looped(rest, inner)


def _is_part_of(node: ast.expr, given: set[str]) -> bool:
    """Whether an expression is, or may share memory with, something under one of the names."""
    while True:
        match node:
            case ast.Name(name):
                return name in given
            case ast.Attribute(value) | ast.Subscript(value) | ast.Starred(value):
                node = value
            case ast.Call(ast.Attribute(value, method)) if vocabulary.shares_memory(method):
                node = value
            case ast.Tuple(items) | ast.List(items):
                return any(_is_part_of(item, given) for item in items)
            case _:
                return False
