"""Which definitions a function rests on, and their digests: read from source text, nothing is imported or run.

A *definition* is a module-level function, class or assignment. From a root follow all names that it uses: those of its
module, those it imports (also inside functions, through re-exports and through a module), jobs named by text
(``"asiarc.pkg.module:callable"``) and modules named whole. Statements of a module that are none of these count with the
first of its definitions that is reached.

A class counts by method: its header (bases, decorators, fields), its dunder methods and those with a decorator of
their own always, any other as soon as its name occurs in what is reached, as a name, an attribute or a string. A class
with a base from outside counts whole, since its base may call what it likes.

What a digest hashes is the syntax tree without docstrings and imports, annotations kept, and what each imported name
stands for. Where a definition lies does not count.
"""

from __future__ import annotations

import ast
import builtins
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeGuard

from asiarc.core.candidate import names_of
from asiarc.core.digest import digest

PACKAGE = "asiarc"
_PLAIN_BASES = frozenset(
    {"typing.Protocol", "typing.NamedTuple", "typing.Generic", "typing.TypedDict", "abc.ABC"}
    | {f"enum.{name}" for name in ("Enum", "StrEnum", "IntEnum")}
    | {f"collections.abc.{name}" for name in ("Mapping", "Sequence", "Iterator", "Collection")}
)
_PLAIN_DECORATORS = frozenset(
    {"property", "cached_property", "staticmethod", "classmethod", "abstractmethod", "cache", "override"}
)
Dotted = tuple[str, ...]
Place = tuple[str, str]  # module, name of a definition there


@dataclass(frozen=True)
class Definition:
    """One definition: the digest of its tree, the dotted names it uses, and the words by which it may call methods."""

    module: str
    name: str
    tree: str
    uses: frozenset[Dotted]
    words: frozenset[str]
    imports: Mapping[str, str]  # made inside it: bound name -> what it stands for, dotted
    texts: frozenset[str]  # strings that name code


@dataclass
class Class:
    """What is known of a class beside its header: bases, methods that always count, and the others by name."""

    bases: tuple[Dotted, ...]
    always: list[str] = field(default_factory=list)
    by_name: list[str] = field(default_factory=list)


@dataclass
class Module:
    """The definitions of one source file by name, ``Class.method`` for methods, and what its imports bind."""

    definitions: dict[str, list[Definition]]
    classes: dict[str, Class]
    imports: dict[str, str]
    effects: list[Definition]


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _bound(node: ast.Import | ast.ImportFrom, package: str) -> dict[str, str]:
    """What an import binds, each name to the dotted one that it stands for; a relative one starts at `package`."""
    if isinstance(node, ast.Import):
        firsts = ((alias, alias.name.partition(".")[0]) for alias in node.names)
        return {alias.asname or first: alias.name if alias.asname else first for alias, first in firsts}
    parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
    source = ".".join([*parents, *([node.module] if node.module else [])])
    return {alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names}


def _names_code(text: str) -> bool:
    head, _, name = text.partition(":")
    return text.startswith(f"{PACKAGE}.") and all(part.isidentifier() for part in [*head.split("."), name or "x"])


def _stands_alone(node: ast.AST) -> bool:
    """Whether a statement is a docstring, or another text that nobody reads while it runs."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class _Reader:
    """One walk over a tree: its normal form as text, and the names, words, imports and texts in it."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.form: list[str] = []
        self.uses: set[Dotted] = set()
        self.words: set[str] = set()
        self.texts: set[str] = set()
        self.imports: dict[str, str] = {}

    def read(self, node: Any) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self.imports |= _bound(node, self.package)
        elif isinstance(node, list):
            for one in node:
                before = len(self.form)
                self.read(one)
                self.form += [","] * (len(self.form) > before)  # a docstring leaves nothing, not even its place
        elif not isinstance(node, ast.AST):
            self.form.append(repr(node))
        elif dotted := names_of(node):
            self.uses.add(dotted)
            self.words.update(dotted)
            self.form.append(f"{'.'.join(dotted)} {type(node.ctx).__name__}")  # type: ignore[attr-defined]
        elif not _stands_alone(node):
            self.read_inside(node)

    def read_inside(self, node: ast.AST) -> None:
        if isinstance(node, ast.Attribute):
            self.words.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.words |= {node.value} if node.value.isidentifier() else set()
            self.texts |= {node.value} if _names_code(node.value) else set()
        self.form.append(f"{type(node).__name__}(")
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:  # the fields that a newer Python adds are empty
                self.form.append(f"{name}=")
                self.read(value)
        self.form.append(")")


def _definition(module: str, package: str, name: str, node: ast.stmt) -> Definition:
    reader = _Reader(package)
    reader.read(node)
    return Definition(
        module,
        name,
        digest("".join(reader.form)),
        frozenset(reader.uses),
        frozenset(reader.words),
        reader.imports,
        frozenset(reader.texts),
    )


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    calls = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return {(names_of(call) or ("?",))[-1] for call in calls}


def _targets(node: ast.AST) -> list[str]:
    """The names that a definition binds; none for other statements."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    names = [part for target in targets for part in getattr(target, "elts", [target])]
    bound = [part.id for part in names if isinstance(part, ast.Name)]
    return bound if len(bound) == len(names) else []


@cache
def read_module(name: str, is_package: bool, text: str) -> Module:
    """The definitions of a source text; the same text is read once a process."""
    package = name if is_package else name.rpartition(".")[0]
    found: defaultdict[str, list[Definition]] = defaultdict(list)
    module = Module(found, {}, {}, [])
    for node in ast.parse(text).body:
        names = _targets(node)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module.imports |= _bound(node, package)
        elif _for_types(node):
            module.imports |= _definition(name, package, "", node).imports
        elif names:
            if isinstance(node, ast.ClassDef):
                module.classes[node.name] = _split(node, name, package, found)
            one = _definition(name, package, names[0], node)
            for bound in names:
                found[bound].append(one)
        elif not _stands_alone(node):
            effect = _definition(name, package, "statements", node)
            module.effects.append(effect)
            module.imports |= effect.imports
            for inner in ast.walk(node):  # what a branch or a loop defines is found through it
                for bound in _targets(inner):
                    found[bound].append(effect)
    module.definitions = dict(found)
    return module


def _split(node: ast.ClassDef, module: str, package: str, found: dict[str, list[Definition]]) -> Class:
    """Take the methods out of a class: each becomes a definition, what remains is the header."""
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    known = Class(tuple(names_of(base) or ("?",) for base in bases))
    for method in [n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]:
        node.body.remove(method)
        is_plain = _decorators(method) <= _PLAIN_DECORATORS and not method.name.startswith("__")
        place = f"{node.name}.{method.name}"
        (known.by_name if is_plain else known.always).append(place)
        found[place].append(_definition(module, package, place, method))
    return known


@dataclass(frozen=True)
class Reached:
    """What a root reaches. `whole` moves with any definition, or with which of two of one name is meant."""

    whole: str
    definitions: dict[str, str]  # bare name -> digests of the definitions of that name, in order
    places: frozenset[Place]

    @property
    def modules(self) -> frozenset[str]:
        """The modules in which something is reached."""
        return frozenset(module for module, _ in self.places)


class Code:
    """The sources of one package: `folder` holds it; `edits` gives files another text than they have."""

    def __init__(self, folder: Path, edits: Mapping[Path, str] | None = None) -> None:
        self.folder, self.edits = folder, edits or {}
        self._files: dict[str, Path | None] = {}
        self._modules: dict[str, Module | None] = {}

    @cached_property
    def kernels(self) -> Path:
        """Where `asiarc.kernels` lies: inside the package in a wheel, beside it in a checkout."""
        inside = self.folder / "kernels"
        return inside if inside.is_dir() else self.folder.parent / "kernels"

    def edited(self, edits: Mapping[Path, str]) -> Code:
        """The same package with some files' texts changed; what is the same is not read again."""
        other = Code(self.folder, edits)
        known = {name: module for name, module in self._modules.items() if self.file(name) not in edits}
        other._files, other._modules = dict(self._files), known
        return other

    def owns(self, dotted: str) -> bool:
        """Whether a name stands for something of this code."""
        return dotted.partition(".")[0] == PACKAGE

    def file(self, module: str) -> Path | None:
        """The file of a module, or None where there is none of that name."""
        if module not in self._files:
            package, *parts = module.split(".")
            folder = self.kernels.parent if parts[:1] == ["kernels"] else self.folder
            path = folder.joinpath(*parts)
            files = [path / "__init__.py", path.with_suffix(".py")] if parts else [path / "__init__.py"]
            found = (file for file in files if package == PACKAGE and file.is_file())
            self._files[module] = next(found, None)
        return self._files[module]

    def text(self, file: Path) -> str:
        """What a file of the package says."""
        return self.edits[file] if file in self.edits else file.read_text(encoding="utf-8")

    def module(self, name: str) -> Module | None:
        """A module of the package as it is read, or None."""
        if name not in self._modules:
            file = self.file(name)
            is_package = file is not None and file.name == "__init__.py"
            self._modules[name] = read_module(name, is_package, self.text(file)) if file else None
        return self._modules[name]

    def find(self, dotted: str, rest: Dotted = ()) -> Iterator[Place]:
        """The definitions that an imported name stands for; all of a module's, where the module itself is used."""
        module = self.module(dotted)
        if module is not None:
            if rest and (rest[0] in module.definitions or rest[0] in module.imports):
                yield from self._in(dotted, rest[0], rest[1:])
            elif rest and self.module(f"{dotted}.{rest[0]}"):
                yield from self.find(f"{dotted}.{rest[0]}", rest[1:])
            elif rest and "__getattr__" in module.definitions:
                yield dotted, "__getattr__"
            else:
                yield from ((dotted, name) for name in module.definitions)
            return
        parent, _, name = dotted.rpartition(".")
        if parent and self.module(parent):
            yield from self._in(parent, name, rest)

    def _in(self, module: str, name: str, rest: Dotted) -> Iterator[Place]:
        known = self.module(module)
        assert known is not None
        if name in known.definitions:
            yield module, name
        elif name in known.imports:
            yield from self.find(known.imports[name], rest)
        elif "__getattr__" in known.definitions:
            yield module, "__getattr__"

    def origin(self, one: Definition, name: str) -> str | None:
        """What a name in a definition stands for where it is imported, dotted, else None."""
        if name in one.imports:
            return one.imports[name]
        module = self.module(one.module)
        assert module is not None
        return None if name in module.definitions else module.imports.get(name)

    def targets(self, one: Definition, dotted: Dotted) -> list[Place]:
        """The definitions that a dotted name in a definition stands for; none for what is not the package's."""
        origin = self.origin(one, dotted[0])
        if origin is not None:
            return list(self.find(origin, dotted[1:])) if self.owns(origin) else []
        module = self.module(one.module)
        assert module is not None
        return [(one.module, dotted[0])] if dotted[0] in module.definitions else []

    def is_plain(self, module: str, bases: Iterable[Dotted]) -> bool:
        """Whether classes of these bases call no method that their own code does not name."""
        return all(self._is_plain_base(module, base) for base in bases)

    def _is_plain_base(self, module: str, base: Dotted) -> bool:
        known = self.module(module)
        assert known is not None
        if base[0] in known.classes:
            return self.is_plain(module, known.classes[base[0]].bases)
        origin = known.imports.get(base[0])
        if origin is None:
            found = getattr(builtins, base[0], None)
            return isinstance(found, type) and (found is object or issubclass(found, BaseException))
        places = list(self.find(origin, base[1:])) if self.owns(origin) else []
        dotted = ".".join([origin, *base[1:]])
        return dotted in _PLAIN_BASES if not places else all(self._is_plain_base(m, (n,)) for m, n in places)

    def reach(self, roots: Iterable[str], stops: Collection[str] = ()) -> Reached:
        """What ``"package.module:name"`` reach, but for what `stops` names (modules, with all below them, or
        definitions); a root that is a method brings its class."""
        return _Closure(self, frozenset(stops)).from_(roots)


class UserCode(Code):
    """The sources of whoever uses the package, as imported in this process: of the installed packages `own` alone."""

    def __init__(self, own: str) -> None:
        super().__init__(Path())
        self.own = own.partition(".")[0]

    def owns(self, dotted: str) -> bool:  # noqa: D102
        parts = dotted.split(".")
        return any(self.file(".".join(parts[:n])) for n in range(1, len(parts) + 1))

    def file(self, module: str) -> Path | None:  # noqa: D102
        found = getattr(sys.modules.get(module), "__file__", None)
        if found is None or not found.endswith(".py"):
            return None
        file = Path(found)
        return file if module.partition(".")[0] == self.own or not is_foreign(file) else None


class OneFile(Code):
    """One text as a module of its own, ``own``, and nothing around it."""

    def __init__(self, text: str) -> None:
        super().__init__(Path())
        self._modules["own"] = read_module("own", False, text)

    def owns(self, dotted: str) -> bool:  # noqa: D102
        return dotted == "own"

    def file(self, module: str) -> Path | None:  # noqa: D102
        return None


def part_of(text: str, name: str) -> tuple[Reached, list[ast.stmt]]:
    """What a definition of a text reaches in it, and the statements that make it: definitions, what the file does
    besides, and the imports that they use, in order."""
    reached = OneFile(text).reach([f"own:{name}"])
    wanted = {found.partition(".")[0] for _, found in reached.places}
    body = ast.parse(text).body
    made = [node for node in body if not _imports(node) and _is_wanted(node, wanted)]
    used = {found.id for node in made for found in ast.walk(node) if isinstance(found, ast.Name)}
    needed = [node for node in body if _imports(node) and not used.isdisjoint(_bound(node, ""))]
    return reached, sorted([*made, *needed, *_futures(body)], key=lambda node: node.lineno)


def _imports(node: ast.stmt) -> TypeGuard[ast.Import | ast.ImportFrom]:
    return isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") != "__future__"


def _futures(body: list[ast.stmt]) -> list[ast.stmt]:
    return [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]


def _is_wanted(node: ast.stmt, wanted: set[str]) -> bool:
    """Whether a statement makes something that is wanted; what makes nothing is wanted with anything (``""``)."""
    if _stands_alone(node) or _for_types(node) or isinstance(node, ast.ImportFrom):
        return False
    names = _targets(node)
    return not wanted.isdisjoint(names) if names else "" in wanted


def is_foreign(file: Path) -> bool:
    """Whether a file is the interpreter's, an installed package's or this one's."""
    return any(file.is_relative_to(folder) for folder in _foreign())


@cache
def _foreign() -> tuple[Path, ...]:
    """Where the interpreter, the installed packages (a base environment's, too) and this one lie."""
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    own = [installed().folder, installed().kernels]
    return (*(Path(path) for path in (*sysconfig.get_paths().values(), *packages)), *own)


class _Closure:
    """One closure: what is found, what is still to be followed, and the methods that wait for their names."""

    def __init__(self, code: Code, stops: frozenset[str]) -> None:
        self.code, self.stops = code, stops
        self.found: dict[Place, list[Definition]] = {}
        self.todo: list[Definition] = []
        self.words: set[str] = set()
        self.waiting: defaultdict[str, list[Place]] = defaultdict(list)
        self.meant: dict[tuple[int, Dotted], list[Place]] = {}

    def from_(self, roots: Iterable[str]) -> Reached:
        for root in roots:
            module, _, name = root.partition(":")
            places = list(self.code.find(f"{module}.{name.partition('.')[0]}"))
            assert places, f"there is no {root}"
            for place in places:
                self.add(*place)
            if "." in name:
                self.add(module, name)
        while self.todo:
            self.follow(self.todo.pop())
        return self.reached()

    def is_stopped(self, module: str, name: str) -> bool:
        parts = module.split(".")
        above = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        return f"{module}:{name}" in self.stops or not self.stops.isdisjoint(above)

    def add(self, module: str, name: str) -> None:
        if (module, name) in self.found or self.is_stopped(module, name):
            return
        known = self.code.module(module)
        assert known is not None and name in known.definitions, f"{module} defines no {name}"
        self.take((module, name), known.definitions[name])
        if known.effects:
            self.take((module, ""), known.effects)
        if name in known.classes:
            mine = known.classes[name]
            for method in mine.always:
                self.add(module, method)
            is_plain = self.code.is_plain(module, mine.bases)
            for method in mine.by_name:
                word = method.partition(".")[2]
                if word in self.words or not is_plain:
                    self.add(module, method)
                else:
                    self.waiting[word].append((module, method))

    def take(self, place: Place, definitions: list[Definition]) -> None:
        if place not in self.found:
            self.found[place] = definitions
            self.todo += definitions

    def follow(self, one: Definition) -> None:
        for dotted in one.uses:
            places = self.meant[id(one), dotted] = self.code.targets(one, dotted)
            for place in places:
                self.add(*place)
        for text in one.texts:
            for place in self.code.find(text.replace(":", ".")):
                self.add(*place)
        for word in one.words - self.words:
            self.words.add(word)
            for place in self.waiting.pop(word, ()):
                self.add(*place)

    def reached(self) -> Reached:
        whole, named = [], defaultdict(set)
        for one in {id(d): d for definitions in self.found.values() for d in definitions}.values():
            outside = self.outside(one)
            meant = sorted([".".join(use), tree] for use in one.uses if (tree := self.meaning(one, use)))
            whole.append([one.name, one.tree, outside, meant])
            named[one.name].add(digest([one.tree, outside])[:4])
        names = {name: " ".join(sorted(digests)) for name, digests in sorted(named.items())}
        return Reached(digest(sorted(whole)), names, frozenset(self.found))

    def meaning(self, one: Definition, use: Dotted) -> str:
        """The tree of the one definition that a used name means; empty where it means none or a whole module."""
        places = self.meant[id(one), use]
        return " ".join(d.tree for d in self.found.get(places[0], ())) if len(places) == 1 else ""

    def outside(self, one: Definition) -> list[list[str]]:
        """The names in a definition that stand for what is not the package's, each with what it stands for."""
        origins = {name: self.code.origin(one, name) for name in {use[0] for use in one.uses}}
        return sorted([name, at] for name, at in origins.items() if at and not self.code.owns(at))


@cache
def installed() -> Code:
    """The package that this module belongs to."""
    return Code(Path(__file__).parents[1])
