"""What the source may say: read as a syntax tree, before any of it runs.

Unusual: names that start at `torch`, `math` or `einops` are followed through the real modules, so that a
module smuggled in as an attribute (`torch.os`, `torch.serialization`) is found by what it is, not by a list
of spellings.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from asiarc.core.candidate import parse
from asiarc.engineer.gates.gate import Cost, Finding, Gate
from asiarc.engineer.gates.subject import Subject

MODULES = frozenset({
    "math", "einops", "einops.layers.torch", "torch", "torch.nn", "torch.nn.functional", "torch.nn.init",
    "torch.nn.parameter", "torch.nn.utils.parametrizations", "torch.fft", "torch.linalg", "torch.special",
    "torch.autograd", "torch.func", "torch.utils", "torch.utils.checkpoint",
})  # fmt: skip
KERNELS = "asiarc.kernels"
BUILTINS = frozenset({
    "open", "eval", "exec", "compile", "input", "globals", "locals", "vars", "dir", "setattr", "delattr",
    "breakpoint", "id", "memoryview", "print", "help", "exit", "quit",
})  # fmt: skip
# Methods that leave torch, reach into its memory or attach code to it; functions that change torch for
# everyone.
ATTRIBUTES = frozenset({
    "numpy", "tolist", "data_ptr", "storage", "untyped_storage", "share_memory_", "map_", "apply_",
    "register_hook", "load", "save", "compile", "from_file", "from_numpy", "frombuffer", "manual_seed",
    "seed", "get_rng_state", "set_rng_state", "fork_rng", "f_globals", "f_back", "gi_frame", "tb_frame",
    "as_strided", "as_strided_", "storage_offset", "set_", "resize_", "resize_as_",
    "load_state_dict", "_parameters", "_buffers", "_modules", "_version", "_base", "_cdata",
})  # fmt: skip
MAX_NUMBERS = 256  # numbers spelled out in a source; a design needs a few dozen, weights need thousands
MAX_STRING = 200

Fault = tuple[ast.AST, str]


class Static(Gate):
    """Only torch, math, einops and asiarc.kernels; no way out of them, no global state, no weights spelled out.

    Cannot see what a program does: the sandbox contains it and the other gates run it.
    """

    name = "static"
    cost = Cost.STATIC

    def check(self, subject: Subject) -> Finding | None:
        """The first fault by line."""
        source = _Source(parse(subject.source))
        for node, reason in sorted(source.faults(), key=lambda fault: getattr(fault[0], "lineno", 0)):
            return self.finds(reason, example={"line": getattr(node, "lineno", 0)})
        return None


class _Source:
    """The rules, one method each, over one syntax tree."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.nodes = list(ast.walk(tree))
        self.imported = dict(_bindings(self.nodes))
        self.own = {n.attr for n in self.nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        self.own |= {n.name for n in self.nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        self.own |= {n.value for n in self.nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        self.top = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}

    def faults(self) -> Iterator[Fault]:
        yield from self._imports()
        yield from self._module_level()
        yield from self._constants()
        chained = {id(n.value) for n in self.nodes if isinstance(n, ast.Attribute)}
        for node in self.nodes:
            if isinstance(node, ast.Name):
                yield from self._name(node, alone=id(node) not in chained)
            elif isinstance(node, ast.Attribute):
                yield from self._attribute(node)
            elif isinstance(node, (ast.Global, ast.Nonlocal)):
                yield node, "global and nonlocal keep state between calls; return it as the state"
            elif isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.Yield, ast.YieldFrom)):
                yield node, "a mixer needs no generator or coroutine, and one remembers where it stopped"
            elif isinstance(node, ast.ClassDef) and node.keywords:
                yield node, "a class with a metaclass can change how others are made"
            elif isinstance(node, ast.Call):
                yield from self._call(node)

    def _imports(self) -> Iterator[Fault]:
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name not in MODULES:
                        yield (node, f"imports {alias.name}; only torch, math, einops and asiarc.kernels are allowed")
            elif isinstance(node, ast.ImportFrom):
                yield from self._import_from(node)

    def _import_from(self, node: ast.ImportFrom) -> Iterator[Fault]:
        module = node.module or ""
        if module == "__future__":
            return
        is_kernel = module == KERNELS or module.startswith(KERNELS + ".")
        if node.level or not (module in MODULES or is_kernel):
            yield (node, f"imports from {module or '.'}; only torch, math, einops and asiarc.kernels are allowed")
            return
        for alias in node.names:
            reason = _kernel_fault(module, alias.name) if is_kernel else _path_fault(f"{module}.{alias.name}")
            if reason:
                yield node, reason

    def _module_level(self) -> Iterator[Fault]:
        allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Pass)
        bodies = [self.tree.body, *(n.body for n in self.nodes if isinstance(n, ast.ClassDef))]
        for statement in (s for body in bodies for s in body):
            if isinstance(statement, (ast.Assign, ast.AnnAssign)):
                if statement.value is not None and not _immutable(statement.value):
                    yield (statement, "a value outside a function that can change is global state; make it in __init__")
            elif not isinstance(statement, allowed) and not _is_text(statement):
                yield statement, "only imports, constants, functions and classes may stand outside a function"

    def _constants(self) -> Iterator[Fault]:
        documentation = {id(n.value) for n in self.nodes if isinstance(n, ast.Expr)}
        numbers = 0
        for node in self.nodes:
            if not isinstance(node, ast.Constant) or id(node) in documentation:
                continue
            if isinstance(node.value, (str, bytes)):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                if len(text) > MAX_STRING or "__" in text:
                    yield node, "a long or dunder-bearing string can hide weights or code"
            elif isinstance(node.value, (int, float, complex)):
                numbers += 1
                if isinstance(node.value, int) and abs(node.value) >= 2**64:
                    yield node, "an integer this long can hide weights"
                if numbers == MAX_NUMBERS + 1:
                    yield (node, f"spells out more than {MAX_NUMBERS} numbers; weights are trained, not written")

    def _name(self, node: ast.Name, *, alone: bool) -> Iterator[Fault]:
        if node.id.startswith("__"):
            yield node, f"{node.id} is not for candidates"
        elif node.id in BUILTINS and isinstance(node.ctx, ast.Load):
            yield (node, f"{node.id}() is not for candidates: no I/O, no code from text, no look at memory addresses")
        elif alone and node.id in self.imported and isinstance(_resolve(self.imported[node.id]), ModuleType):
            yield node, f"the module {node.id} may not be passed on or renamed"

    def _attribute(self, node: ast.Attribute) -> Iterator[Fault]:
        path = _dotted(node)
        root = path.split(".")[0] if path else ""
        if root in self.imported:
            if isinstance(node.ctx, (ast.Store, ast.Del)):
                yield node, f"assigns to {path}: changes {root} for everyone"
            elif reason := _path_fault(self.imported[root] + path[len(root) :]):
                yield node, reason
        elif isinstance(node.ctx, (ast.Store, ast.Del)) and (root in self.top or not path):
            yield node, f"assigns to {path or 'an attribute of a call'}: state outside the mixer"
        if node.attr.startswith("__") and node.attr != "__init__":
            yield node, f"{node.attr} is not for candidates"
        elif node.attr in ATTRIBUTES or (node.attr.startswith("register_") and node.attr.endswith("hook")):
            yield node, f".{node.attr} is not for candidates"
        elif node.attr.startswith("_") and not node.attr.startswith("__") and node.attr not in self.own:
            yield node, f"{node.attr} is a private attribute of something else"

    def _call(self, node: ast.Call) -> Iterator[Fault]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "type" and len(node.args) != 1:
            yield node, "type() with three arguments makes a class unseen"
        if name in ("getattr", "hasattr"):
            on_self = isinstance(node.args[0], ast.Name) and node.args[0].id == "self"
            spelled = isinstance(node.args[1], ast.Constant) and not str(node.args[1].value).startswith("_")
            if not (on_self and spelled):
                yield node, f"{name}() is allowed as {name}(self, 'name') only"


def _bindings(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Name in the source -> dotted path of what was imported under it."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.Attribute) -> str:
    parts: list[str] = []
    current: ast.expr = node
    while isinstance(current, ast.Attribute):
        parts.append(current.attr)
        current = current.value
    return ".".join([current.id, *reversed(parts)]) if isinstance(current, ast.Name) else ""


def _resolve(path: str) -> Any:
    """The object at a dotted path, None where there is none."""
    parts = path.split(".")
    for i in range(len(parts), 0, -1):
        module_name = ".".join(parts[:i])
        if module_name not in MODULES:
            continue
        found: Any = importlib.import_module(module_name)
        for part in parts[i:]:
            found = getattr(found, part, None)
        return found
    return None


def _path_fault(path: str) -> str | None:
    """Why a dotted path below an allowed module may not be used."""
    parts = path.split(".")
    if parts[0] not in ("torch", "math", "einops"):
        return None
    for i in range(1, len(parts)):
        if parts[i].startswith("_") or parts[i].startswith("set_") or parts[i] in ATTRIBUTES:
            return f"{'.'.join(parts[: i + 1])} is not for candidates"
        found = _resolve(".".join(parts[: i + 1]))
        if isinstance(found, ModuleType) and not _leads_to_allowed(found.__name__):
            return f"{'.'.join(parts[: i + 1])} leads out of the allowed modules ({found.__name__})"
    return None


def _leads_to_allowed(module: str) -> bool:
    return module in MODULES or any(allowed.startswith(f"{module}.") for allowed in MODULES)


def _kernel_fault(module: str, name: str) -> str | None:
    """Only what a kernel module defines itself may be imported from it."""
    try:
        defined = importlib.import_module(module)
    except ModuleNotFoundError:
        return f"there is no module {module}"
    found = getattr(defined, name, None)
    if name.startswith("_") or isinstance(found, ModuleType) or not callable(found):
        return f"{module} offers no {name}"
    return None if found.__module__.startswith(KERNELS) else f"{name} is not {module}'s own"


def _immutable(value: ast.expr) -> bool:
    """Numbers, text, names, tuples of them, arithmetic on them, types such as dict[str, Tensor], calls into math."""
    if isinstance(value, ast.Call):
        return _dotted(value.func).startswith("math.") if isinstance(value.func, ast.Attribute) else False
    if isinstance(value, ast.Tuple):
        return all(_immutable(item) for item in value.elts)
    if isinstance(value, ast.Subscript):
        return _immutable(value.value) and _immutable(value.slice)
    if isinstance(value, ast.BinOp):
        return _immutable(value.left) and _immutable(value.right)
    if isinstance(value, ast.UnaryOp):
        return _immutable(value.operand)
    return isinstance(value, (ast.Constant, ast.Name, ast.Attribute))


def _is_text(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
