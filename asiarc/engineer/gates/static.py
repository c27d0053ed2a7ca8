"""What the source may say: read as a syntax tree, before any of it runs.

An allow-list throughout: of kinds of syntax, of names, of paths into modules and of attributes (`vocabulary.py`). An
attribute is one however it is reached: by a dot, by `getattr`, by a pattern of `match`, by a method that answers to it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from torch import nn
from torch.autograd import Function

from asiarc.core.candidate import as_run, content_address, dotted
from asiarc.core.errors import nearest
from asiarc.engineer.gates import vocabulary as v
from asiarc.engineer.gates.gate import Cost, Finding, Gate, Verdict
from asiarc.engineer.gates.subject import Subject

MAX_NUMBERS = 256  # numbers spelled out in a source; a design needs a few dozen, weights need thousands
MAX_STRING = 200
MAX_LETTERS = 20 * MAX_STRING  # of all texts, but for what is documented and said in errors
MAX_TEXTS = 64  # texts that one expression may be and still be followed

SYNTAX = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.FunctionDef, ast.ClassDef, ast.arguments, ast.arg, ast.Name,
    ast.Return, ast.Delete, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For, ast.While, ast.If, ast.With, ast.Match,
    ast.withitem, ast.match_case, ast.pattern, ast.Raise, ast.Try, ast.ExceptHandler, ast.Assert, ast.Expr, ast.Pass,
    ast.Break, ast.Continue, ast.BoolOp, ast.NamedExpr, ast.BinOp, ast.UnaryOp, ast.Lambda, ast.IfExp, ast.Dict,
    ast.Set, ast.ListComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Compare, ast.Call, ast.FormattedValue,
    ast.JoinedStr, ast.Constant, ast.Attribute, ast.Subscript, ast.Starred, ast.List, ast.Tuple, ast.Slice, ast.keyword,
    ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
UNCHANGING = (
    ast.Attribute, ast.Tuple, ast.Slice, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.GeneratorExp,
    ast.Starred,
)  # fmt: skip
INSTEAD = {
    ast.Global: "keep what lasts between calls in the state that forward returns",
    ast.Nonlocal: "keep what lasts between calls in the state that forward returns",
    ast.Yield: "a list: a generator remembers where it stopped",
    ast.SetComp: "a list or a dict: the order of a set differs from process to process",
}
ADDRESS = "a text made of a value, or an order of values, can tell where they lie in memory"
T = TypeVar("T", bound=ast.AST)


class Fault(NamedTuple):
    """Where, what is wrong, and what would be allowed instead."""

    node: ast.AST
    reason: str
    instead: str = "mathematics on tensors by torch, math, einops and asiarc.kernels"
    given: str = ""  # a name for which the nearest of these stands instead
    allowed: Collection[str] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Line and column, from 1."""
        return getattr(self.node, "lineno", 1), getattr(self.node, "col_offset", 0) + 1


class Static(Gate):
    """Mathematics on tensors and nothing that leads out of it: no module as a value, no state outside the mixer, no
    hooks, no addresses, no weights spelled out.

    Cannot see what a program does: the sandbox contains it and the other gates run it.
    """

    name = "static"
    cost = Cost.STATIC

    def check(self, subject: Subject) -> Finding | None:
        """The first fault by place; a warning where something was dropped before the source runs."""
        content_address(subject.source)  # a tree that is too deep to be named is too deep to be read
        tree, dropped = as_run(subject.source)
        for fault in sorted(_Source(tree).faults(), key=lambda fault: fault.place):
            return self._told(fault, subject.source, "rejected")
        for node in dropped:
            what = "a compiler does not run here" if isinstance(node, ast.expr) else "this block never runs"
            return self._told(Fault(node, f"dropped, as {what}", "leave it out"), subject.source, "warned")
        return None

    def _told(self, fault: Fault, source: str, verdict: Verdict) -> Finding:
        line, column = fault.place
        text = "".join(source.splitlines()[line - 1 : line]).strip()[:MAX_STRING]
        instead = nearest(fault.given, sorted(fault.allowed), cutoff=0.7) or fault.instead
        reason = f"line {line}, column {column}: {fault.reason}; instead: {instead}. The line says: {text}"
        return Finding(self.name, verdict, reason, {"line": line, "column": column}, instead, text)


class _Source:
    """The rules, over one syntax tree."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.nodes = list(ast.walk(tree))
        self.parent = {id(child): node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.bindings = [pair for node in self.nodes for pair in _bindings(node)]
        self.bound = Counter(name for name, _ in self.bindings)
        self.names = frozenset(self.bound)
        self.imports = [pair for node in self.nodes for pair in _imports(node)]
        self.imported = dict(self.imports)

    def faults(self) -> Iterator[Fault]:
        """Every fault, in no order."""
        for node in self.nodes:
            if not isinstance(node, SYNTAX):
                instead = INSTEAD.get(type(node), "assignments, calls, loops, branches and functions")
                yield Fault(node, f"{type(node).__name__} is not among the syntax of candidates", instead)
            elif type(node) in _RULES:
                yield from _RULES[type(node)](self, node)
        yield from self._rebound()
        yield from self._constants()

    def every(self, kind: type[T]) -> list[T]:
        return [node for node in self.nodes if isinstance(node, kind)]

    # --- names and modules ---

    def _rebound(self) -> Iterator[Fault]:
        """A module, and a builtin that may not be used freely, mean one thing throughout."""
        modules = Counter(name for name, path in self.imports if v.leads(path))
        paths = Counter(name for name, path in set(self.imports))
        for name, node in self.bindings:
            if name in modules and (paths[name] > 1 or self.bound[name] > modules[name]):
                yield Fault(node, f"{name} is a module here and something else elsewhere", "a name for each")
            elif name in vars(builtins) and name != "input" and (name not in v.BUILTINS or name in v.BOUND_AS_THEY_ARE):
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
        compared = node.id == "type" and isinstance(above, (ast.Subscript, ast.Compare))
        if node.id not in v.BUILTINS:
            yield _not_among(node, "names", node.id, v.BUILTINS | self.names)
        elif node.id in v.ONLY_CALLED and not (called or compared):
            yield Fault(node, f"{node.id} is no value to pass on", f"call {node.id}(...) where it stands")
        elif node.id in ("str", "set") and id(node) not in self.said and not self._as_type(node):
            yield Fault(node, ADDRESS, "text in error messages; lists and dicts, which keep their order")

    def _as_type(self, node: ast.AST) -> bool:
        """Whether a name stands in an annotation, a subscript, a pattern or as what isinstance asks for."""
        below, above = node, self.parent[id(node)]
        while isinstance(above, (ast.Tuple, ast.BinOp)):
            below, above = above, self.parent[id(above)]
        match above:
            case ast.Call(ast.Name("isinstance"), [_, asked]):
                return below is asked
            case ast.Subscript(_, index):
                return below is index
        return isinstance(above, (ast.MatchClass, ast.arg, ast.AnnAssign, ast.FunctionDef))

    def _in_class(self, node: ast.AST) -> bool:
        above = self.parent[id(node)]
        while isinstance(above, (ast.Assign, ast.AnnAssign, ast.Tuple, ast.List, ast.Starred)):
            above = self.parent[id(above)]
        return isinstance(above, (ast.ClassDef, ast.NamedExpr))

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[Fault]:
        start = "." * getattr(node, "level", 0) + (getattr(node, "module", None) or "")
        for alias in node.names:
            if isinstance(node, ast.ImportFrom) and v.leads(start):
                yield from _path_faults(node, f"{start}.{alias.name}", imported=True)
            elif start or alias.name not in v.MODULES:
                yield _not_among(node, "modules", start or alias.name, v.MODULES)

    # --- attributes ---

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
            yield from self._written(node)

    def _read(self, node: ast.AST, name: str) -> Iterator[Fault]:
        """An attribute of a value, however it is reached."""
        match self.parent[id(node)]:
            case ast.Compare(_, _, [ast.Constant(None)]) if name == "grad_fn":
                return  # whether there is a history, and not which
        if name not in self.known and not (name == "format" and id(node) in self.said):
            yield _not_among(node, "attributes", name, self.known)

    def _written(self, node: ast.Attribute) -> Iterator[Fault]:
        root: ast.expr = node
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        shared = isinstance(root, ast.Name) and (root.id in self.imported or root.id in self.outside)
        if shared or isinstance(root, ast.Call):
            yield Fault(node, f"assigns to .{node.attr} of what is no mixer, for everyone", "assign to self")
        yield from self._made(node, node.attr)

    def _made(self, node: ast.AST, name: str) -> Iterator[Fault]:
        """An attribute, a method or a part under a name of the candidate's own."""
        theirs = name.startswith("__") or name in v.reserved() or name in v.answered_by_torch()
        written = isinstance(node, ast.FunctionDef) and name in v.WRITTEN | v.BACKWARD
        if theirs and not written and name != "__constants__":
            yield Fault(node, f"{name} is torch's or the interpreter's to make", "another name")

    def _pattern(self, node: ast.MatchClass) -> Iterator[Fault]:
        for name in node.kwd_attrs:
            yield from self._read(node, name)

    @cached_property
    def known(self) -> set[str]:
        """Attributes that may be read: those of any value, and those that the source makes itself."""
        stored = {node.attr for node in self.every(ast.Attribute) if isinstance(node.ctx, ast.Store)}
        in_classes = {name for c in self.every(ast.ClassDef) for s in c.body for name in _made_by(s)}
        named = {text for call in self.every(ast.Call) for text in self._parts(call)}
        own = {name for name in stored | in_classes | named if not name.startswith("__")} - v.reserved()
        return own | v.attributes() | {"__init__"}

    def _parts(self, call: ast.Call) -> set[str]:
        """Names of the parts, buffers and fields that a call makes."""
        match dotted(call.func).rpartition(".")[2], call.args:
            case "namedtuple", [_, *fields]:
                words = [n.value for field in fields for n in ast.walk(field) if isinstance(n, ast.Constant)]
                return {part for text in map(str, words) for part in text.replace(",", " ").split()}
            case ("setattr", [_, name, *_]) | ("add_module" | "register_module", [name, *_]):
                return self._texts(name) or set()
            case "register_buffer" | "register_parameter", [name, *_]:
                return self._texts(name) or set()
        return set()

    @cached_property
    def outside(self) -> set[str]:
        """Names of what all mixers share: what stands at module level, and a class as its class methods know it."""
        methods = [f for f in self.every(ast.FunctionDef) if "classmethod" in map(dotted, f.decorator_list)]
        return {n for s in self.tree.body for n in _made_by(s)} | {a.arg for f in methods for a in f.args.args[:1]}

    def _call(self, node: ast.Call) -> Iterator[Fault]:
        name = dotted(node.func)
        plain = not node.keywords and not any(isinstance(a, ast.Starred) for a in node.args)
        if name in v.BY_TEXT:
            texts = self._texts(node.args[1]) if plain and len(node.args) > 1 else None
            if texts is None or (name == "setattr" and dotted(node.args[0]) != "self"):
                yield Fault(node, f"{name} of a name that is not spelled out", f"{name}(self, 'name', ...)")
            for text in texts or ():
                yield from self._made(node, text) if name == "setattr" else self._read(node, text)
        elif name == "type" and not (plain and len(node.args) == 1):
            yield Fault(node, "type() with three arguments makes a class unseen", "type(x)")
        elif name == "frozenset" and not all(map(_is_constant, node.args)):
            yield Fault(node, ADDRESS, "a tuple, a list or a dict")

    # --- text: what it may hold, as it can tell an address ---

    @cached_property
    def said(self) -> set[int]:
        """Nodes of the messages of what is raised or asserted, and of what `extra_repr` returns."""
        calls = [node.exc for node in self.every(ast.Raise) if isinstance(node.exc, ast.Call)]
        messages = [a for call in calls if dotted(call.func) in v.RAISED - self.names for a in call.args]
        messages += [node.msg for node in self.every(ast.Assert) if node.msg]
        shown = [s for f in self.every(ast.FunctionDef) if f.name == "extra_repr" for s in f.body]
        messages += [s.value for s in shown if isinstance(s, ast.Return) and s.value]
        return {id(node) for message in messages for node in _spoken(message)}

    def _text(self, node: ast.expr) -> Iterator[Fault]:
        match node:
            case ast.BinOp(ast.JoinedStr() | ast.Constant(str()), ast.Mod()) | ast.JoinedStr():
                if id(node) not in self.said and self._texts(node) is None:
                    yield Fault(node, ADDRESS, "counters and spelled-out texts, or an error message")
            case ast.Set():
                above = self.parent[id(node)]
                asked = isinstance(above, ast.Compare) or self._path(getattr(above, "func", node)) == "frozenset"
                if not (asked and _is_constant(node)):
                    yield Fault(node, ADDRESS, "a tuple, a list or a dict")

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
                return self._joined(parts)
            case ast.BinOp(left, ast.Add(), right):
                return self._joined([left, right])
        return None

    def _joined(self, parts: list[ast.expr]) -> set[str] | None:
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
        loops: list[Any] = [*self.every(ast.For), *self.every(ast.comprehension)]
        taken: dict[str, list[set[str]]] = defaultdict(list)
        for name, texts in (pair for loop in loops for pair in _looped(loop.target, loop.iter)):
            taken[name].append(texts)
        return {name: set().union(*texts) for name, texts in taken.items() if len(texts) == self.bound[name]}

    def _constants(self) -> Iterator[Fault]:
        documentation = {id(node.value) for node in self.every(ast.Expr)}
        constants = [node for node in self.every(ast.Constant) if id(node) not in documentation]
        letters = numbers = 0
        for node in constants:
            value, said = node.value, id(node) in self.said
            if isinstance(value, str):
                letters += 0 if said else len(value)
                if len(value) > MAX_STRING or "__" in value or letters > MAX_LETTERS:
                    yield Fault(node, "long texts and dunders can hide weights or code", f"{MAX_STRING} letters")
                elif "%" in value and not said:
                    yield Fault(node, f"a text with % is to be filled in, and {ADDRESS}", "text without %")
            elif isinstance(value, (int, float, complex)):
                numbers += 1
                if abs(value) >= 2**64 and isinstance(value, int):
                    yield Fault(node, "an integer this long can hide weights", "a float such as 1e30")
                if numbers > MAX_NUMBERS:
                    yield Fault(node, f"spells out more than {MAX_NUMBERS} numbers", "weights are trained, not written")
            elif isinstance(value, bytes):
                yield Fault(node, "bytes can hide weights or code", "numbers and text")

    # --- what stands outside functions ---

    def _body(self, node: ast.Module | ast.ClassDef) -> Iterator[Fault]:
        at_top = isinstance(node, ast.Module)
        allowed = (ast.FunctionDef, ast.ClassDef, ast.Pass, *((ast.Import, ast.ImportFrom) if at_top else ()))
        for statement in node.body:
            match statement:
                case ast.Assign(_, value) | ast.AnnAssign(value=value):
                    listed = {*_made_by(statement)} <= {"__all__", "__constants__"} and value and _is_constant(value)
                    if value and not (listed or self._immutable(value) or (at_top and self._is_table(value))):
                        what = "a value outside a function that can change is global state"
                        yield Fault(statement, what, "make it in __init__, or of numbers, text and tuples")
                case ast.Expr(ast.Constant(value)) if value is ... or isinstance(value, str):
                    pass
                case _ if not isinstance(statement, allowed):
                    yield Fault(statement, "code that runs when it is loaded", "imports, constants, functions, classes")

    @cached_property
    def tables(self) -> set[str]:
        """Names of lists and dicts at module level, which are constants as long as they are only read."""
        held = [s for s in self.tree.body if isinstance(s, (ast.Assign, ast.AnnAssign))]
        return {name for s in held if s.value and not self._immutable(s.value) for name in _made_by(s)}

    def _is_table(self, value: ast.expr) -> bool:
        parts = [part for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)]
        whole = isinstance(value, (ast.List, ast.DictComp)) or (isinstance(value, ast.Dict) and None not in value.keys)
        return whole and all(map(self._immutable, parts))

    def _only_reads(self, node: ast.Name) -> bool:
        match self.parent[id(node)]:
            case ast.Subscript(value, _, ast.Load()) | ast.For(_, value) | ast.comprehension(_, value):
                return value is node
            case ast.Attribute(_, name):
                return name in v.READS
            case ast.Call(ast.Name(name)):
                return name in v.READS and name not in self.bound
            case ast.Compare() | ast.Starred() | ast.keyword(None):
                return True
        return False

    def _immutable(self, value: ast.expr) -> bool:
        """Numbers, text, names, functions, tuples of them, arithmetic on them, types, and calls that freeze."""
        match value:
            case ast.Constant() | ast.Name() | ast.Lambda() | ast.Set():
                return True
            case ast.Subscript(held, index):
                return self._immutable(held) and not any(isinstance(node, ast.Call) for node in ast.walk(index))
            case ast.Call(func, args, keywords):
                maker, given = self._path(func), [*args, *(keyword.value for keyword in keywords)]
                frozen = maker in v.FREEZES - self.names
                counts = maker in v.COUNTS - self.names or maker.startswith("math.")
                return (counts or frozen) and all(self._immutable(a) or (frozen and self._is_table(a)) for a in given)
        parts = [part for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)]
        return isinstance(value, UNCHANGING) and all(map(self._immutable, parts))

    # --- classes ---

    def _class(self, node: ast.ClassDef) -> Iterator[Fault]:
        yield from self._body(node)
        bases = [self._path(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
        kinds = [_object(path) for path in bases]
        for path, kind in zip(bases, kinds, strict=True):
            layer = isinstance(kind, type) and issubclass(kind, (nn.Module, Function))
            if not (layer or path in v.BASES or 0 < self.bound[path] == self.classes[path]):
                yield Fault(node, f"a class of {path} can answer for torch, or for its own size", "nn.Module as base")
        if node.keywords:
            yield Fault(
                node, "a class with a metaclass can change how others are made", f"class {node.name}(nn.Module)"
            )
        for statement in node.body:
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                yield from self._made(statement, statement.name)
            if isinstance(statement, ast.FunctionDef) and statement.name in v.BACKWARD and Function in kinds:
                yield from self._backward(statement)

    @cached_property
    def classes(self) -> Counter[str]:
        return Counter(node.name for node in self.every(ast.ClassDef))

    def _backward(self, method: ast.FunctionDef) -> Iterator[Fault]:
        """Gradients are computed from what was given, and nothing of that is changed."""
        given = {node.arg for node in ast.walk(method.args) if isinstance(node, ast.arg)}
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
                of = args[:1] if self._path(value).partition(".")[0] in self.imported else [value]
                in_place = name.endswith("_") or name in v.CHANGES_A_CONTAINER
                return [keyword.value for keyword in keywords if keyword.arg == "out"] + of * in_place
        return []

    def _path(self, node: ast.AST) -> str:
        root, dot, rest = dotted(node).partition(".")
        return self.imported.get(root, root) + dot + rest


_RULES: dict[type, Callable[[_Source, Any], Iterator[Fault]]] = {
    ast.Import: _Source._import,
    ast.ImportFrom: _Source._import,
    ast.Name: _Source._name,
    ast.Attribute: _Source._attribute,
    ast.MatchClass: _Source._pattern,
    ast.Call: _Source._call,
    ast.JoinedStr: _Source._text,
    ast.BinOp: _Source._text,
    ast.Set: _Source._text,
    ast.Module: _Source._body,
    ast.ClassDef: _Source._class,
}


def _not_among(node: ast.AST, kind: str, name: str, allowed: Collection[str]) -> Fault:
    given = "" if name.startswith("__") else name
    return Fault(node, f"{name} is not among the {kind} of candidates", given=given, allowed=allowed)


def _path_faults(node: ast.AST, path: str, *, imported: bool = False) -> Iterator[Fault]:
    """A path that begins at a module leads to what is offered there; to a module where that is only imported."""
    module, name, _ = _split(path)
    if name and name not in v.offers(module):
        choices = {f"{module}.{offered}" for offered in v.offers(module)} | {m for m in v.MODULES if module in m}
        yield _not_among(node, "paths", f"{module}.{name}", choices)
    elif not name and not imported:
        last = path.rpartition(".")[2]
        taken = f"from {path} import {last}" if path.startswith(v.KERNELS) else f"{path}.NAME with what is used of it"
        yield Fault(node, f"{path} is a module and no value", taken)


def _split(path: str) -> tuple[str, str, list[str]]:
    """A dotted path from a module: the last module on it, what is taken of that (or nothing), attributes of this."""
    parts = path.split(".")
    depth = next((i for i in range(1, len(parts)) if not v.leads(".".join(parts[: i + 1]))), len(parts))
    return ".".join(parts[:depth]), "".join(parts[depth : depth + 1]), parts[depth + 1 :]


def _object(path: str) -> Any:
    """What stands at a dotted path, None where a candidate may take nothing there."""
    module, name, rest = _split(path)
    return getattr(importlib.import_module(module), name) if name in v.offers(module) and not rest else None


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Name in the source, dotted path of what was imported under it."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            whole = start or alias.asname
            yield alias.asname or alias.name.split(".")[0], start + alias.name if whole else alias.name.split(".")[0]


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The names that a node itself binds."""
    match node:
        case ast.Name(name, ast.Store()) | ast.arg(name) | ast.FunctionDef(name) | ast.ClassDef(name):
            yield name, node
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(str(name)):
            yield name, node
        case ast.MatchMapping(rest=str(name)):
            yield name, node
    yield from ((name, node) for name, _ in _imports(node))


def _made_by(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement outside functions makes."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", statement)]
    for target in targets:
        nodes = ast.walk(target) if isinstance(target, ast.expr) else [target]
        yield from (name for node in nodes for name, _ in _bindings(node))


def _trail(node: ast.expr) -> tuple[ast.expr, list[str]]:
    """What attributes are asked of, and their names in order."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return node, names[::-1]


def _is_constant(node: ast.expr) -> bool:
    items = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]
    return all(isinstance(item, ast.Constant) for item in items)


def _spoken(message: ast.expr) -> Iterator[ast.AST]:
    """The nodes of a message whose text goes into it and nowhere else."""
    yield message
    match message:
        case ast.JoinedStr(parts):
            yield from parts
        case ast.BinOp(left, _, right) | ast.IfExp(_, left, right):
            yield from (*_spoken(left), *_spoken(right))
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
            yield name, {str(item.value) for item in items if isinstance(item, ast.Constant)}
        case ast.Tuple([ast.Name(name), rest]), ast.Call(ast.Name("enumerate"), [inner, *_]):
            yield name, {"0"}
            yield from _looped(rest, inner)


def _is_part_of(node: ast.expr, given: set[str]) -> bool:
    """Whether an expression is, or may share memory with, something under one of the names."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Call)):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Attribute) and v.shares_memory(node.func.attr)):
                return False
            node = node.func
        node = node.value
    if isinstance(node, (ast.Tuple, ast.List)):
        return any(_is_part_of(item, given) for item in node.elts)
    return isinstance(node, ast.Name) and node.id in given
