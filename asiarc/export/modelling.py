"""The modelling file of an exported model: torch and transformers are all that it imports.

It holds the candidate as it was trained, the backbone around it, and of `asiarc.kernels` what the candidate uses. Of a
hybrid it holds every mixer, each in a function of its own, where no name of one is another's. The
kernels for GPUs stay behind: there the file computes as it does on a CPU.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeGuard

from asiarc.campaign.code import KERNELS, triton_modules
from asiarc.core.candidate import as_run, content_address, names_of
from asiarc.core.digest import digest
from asiarc.core.pattern import CANDIDATE as CANDIDATE_SLOT
from asiarc.core.pattern import pattern_of
from asiarc.core.reach import Code, Place, installed
from asiarc.export.inline import IMPORT, Inliner, Key, imported
from asiarc.export.scopes import bound

BACKBONE = "asiarc.models.backbone"
LOADER = "asiarc.core.candidate"
ROOTS: tuple[Place, ...] = ((BACKBONE, "AsiarcConfig"), (BACKBONE, "AsiarcForCausalLM"))
EINOPS = "asiarc.export.rearranging"
REARRANGING = frozenset({"einops.rearrange", "einops.reduce", "einops.repeat", "einops.einsum"})
CANDIDATE = "the candidate"
NAMESPACE: Key = (IMPORT, "types.SimpleNamespace")
LOAD_MIXER = '''def load_mixer(source: str) -> type[nn.Module]:
    """The mixer of this file, whatever a configuration holds."""
    return Mixer
'''
MIXER_CLASS = '''def mixer_class(config: AsiarcConfig, name: str) -> type[nn.Module]:
    """The class of a mixer by its name in the pattern: one of this file."""
    return MIXERS[name]
'''
HAS_TRITON = '''def has_triton() -> bool:
    """Never: the kernels for GPUs are not in this file, "chunk" runs on any device."""
    return False
'''
ON_GPU = '''def {name}(*given: Any) -> Any:
    """Not in this file, which never chooses it."""
    raise KernelInputError("this file holds no kernel for GPUs; backend=None picks the one that runs anywhere")
'''


def replaced(code: Code, *, hybrid: bool = False) -> dict[Place, str]:
    """The definitions that are others in the file: what loads a candidate, and what leads to the kernels for GPUs."""
    loading = {(BACKBONE, "mixer_class"): MIXER_CLASS} if hybrid else {(LOADER, "load_mixer"): LOAD_MIXER}
    found = {**loading, (f"{KERNELS}.contract", "has_triton"): HAS_TRITON}
    on_gpu = triton_modules(code)
    for name in sorted({f"{KERNELS}.{path.stem}" for path in code.kernels.glob("*.py")} - on_gpu):
        file = code.file(name)
        for node in ast.parse(code.text(file)).body if file else ():
            imports = (one.module for one in ast.walk(node) if isinstance(one, ast.ImportFrom))
            if isinstance(node, ast.FunctionDef) and on_gpu & set(imports):
                found[name, node.name] = ON_GPU.format(name=node.name)
    return found


@dataclass
class SourceEdit:
    """A span of the candidate's text, in lines from 0 and columns in bytes, and what stands there instead."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str = ""


@dataclass
class Candidate:
    """A candidate's source: what it takes from asiarc and einops, and its text without the imports of that; `nested`
    where it will stand inside a function, with its other imports."""

    source: str
    code: Code
    nested: bool = False
    taken: dict[str, Key] = field(default_factory=dict)  # what its names stand for
    wanted: dict[str, dict[str, Place]] = field(default_factory=dict)  # imported name -> what is used of it -> where

    def __post_init__(self) -> None:
        self.tree, self.dropped = as_run(self.source)
        for node in self.tree.body:
            if self._may_be_lifted(node):
                self.taken |= {n: (IMPORT, o) for n, o in imported(node).items() if not o.startswith("__future__")}
            elif not self._is_ours(node):
                self.taken |= {name: (CANDIDATE, name) for name in bound(node)}
        for one in filter(self._is_ours, ast.walk(self.tree)):
            for name, origin in imported(one).items():
                self.wanted[name] = dict(self._used(name, origin))
                whole = self.wanted[name].get("")
                is_outermost = one in self.tree.body
                self.taken[name] = whole if whole and is_outermost else (CANDIDATE, name)

    @cached_property
    def needs_einops(self) -> bool:
        """Whether it uses more of einops than the file can hold, and so imports it."""
        return not {path for path in self._paths if path.startswith("einops.")} <= REARRANGING

    @cached_property
    def _paths(self) -> set[str]:
        """Every dotted path that begins with an imported name, from where it was imported."""
        nodes = [n for n in ast.walk(self.tree) if _is_import(n)]
        origins = {name: origin for node in nodes for name, origin in imported(node).items()}
        whole = {name for node in nodes if isinstance(node, ast.Import) for name in imported(node)}
        found = {origin for name, origin in origins.items() if name not in whole}
        for path in filter(None, map(names_of, ast.walk(self.tree))):
            if path[0] in whole and len(path) > 1:
                found.add(".".join([origins[path[0]].partition(".")[0], *path[1:]]))
        return found

    def _is_lifted(self, node: ast.AST) -> bool:
        """Whether a node is an import that goes to the head of the file; from inside a function none but those that can
        stand nowhere else."""
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        return self._may_be_lifted(node) and (is_future or not self.nested)

    def _may_be_lifted(self, node: ast.AST) -> bool:
        """Whether a node is an import that could; what binds less than it names stays."""
        if not _is_import(node) or node not in self.tree.body or self._is_ours(node):
            return False
        return isinstance(node, ast.ImportFrom) or all(n.asname or "." not in n.name for n in node.names)

    def _is_ours(self, node: ast.AST) -> bool:
        """Whether a node imports what the file holds itself."""
        if not _is_import(node):
            return False
        tops = {origin.partition(".")[0] for origin in imported(node).values()}
        return tops == {"asiarc"} or (tops == {"einops"} and not self.needs_einops)

    def _used(self, name: str, origin: str) -> Iterator[tuple[str, Place]]:
        """What is used of an imported name: "" where it is a definition, else the paths behind it."""
        if place := self._place(origin):
            yield "", place
            return
        start = origin if not origin.startswith(f"{name}.") else name
        for path in map(names_of, ast.walk(self.tree)):
            if path[:1] == (name,) and (place := self._place(".".join([start, *path[1:]]))):
                yield ".".join(path[1:]), place

    def _place(self, dotted: str) -> Place | None:
        if dotted in REARRANGING:
            return EINOPS, dotted.partition(".")[2]
        places = list(self.code.find(dotted)) if self.code.module(dotted) is None else []
        return places[0] if len(places) == 1 else None

    @property
    def roots(self) -> list[Place]:
        """All that it uses of asiarc and einops."""
        return [place for paths in self.wanted.values() for place in paths.values()]

    def text(self, meant: dict[Key, str]) -> str:
        """The source as the file has it: verbatim but for imports of what is in the file, and what never runs."""
        edits = [SourceEdit(_start(node), _end(node)) for node in self.dropped]
        for node in ast.walk(self.tree):
            if self._is_lifted(node):
                edits.append(SourceEdit(_start(node), _end(node)))
            elif self._is_ours(node):
                bindings = (self._binding(name, meant) for name in imported(node))
                nested = node not in self.tree.body
                text = "; ".join(filter(None, bindings)) or ("pass" if nested else "")
                edits.append(SourceEdit(_start(node), _end(node), text))
        return _edited(self.source.removeprefix("\ufeff"), edits)

    def _binding(self, name: str, meant: dict[Key, str]) -> str:
        paths = self.wanted[name]
        if "" in paths:
            final = meant[paths[""]]
            return "" if final == name else f"{name} = {final}"
        tree: dict[str, object] = {}
        for path, place in paths.items():
            inner = tree
            *around, last = path.split(".")
            for one in around:
                inner = inner.setdefault(one, {})  # type: ignore[assignment]
            inner[last] = meant[place]
        return f"{name} = {_namespace(tree, meant[NAMESPACE])}"


def _is_import(node: ast.AST) -> TypeGuard[ast.Import | ast.ImportFrom]:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _namespace(tree: dict[str, object], kind: str) -> str:
    inner = (f"{n}={_namespace(v, kind) if isinstance(v, dict) else v}" for n, v in tree.items())
    return f"{kind}({', '.join(inner)})"


def _start(node: ast.AST) -> tuple[int, int]:
    return node.lineno - 1, node.col_offset  # type: ignore[attr-defined]


def _end(node: ast.AST) -> tuple[int, int]:
    return node.end_lineno - 1, node.end_col_offset  # type: ignore[attr-defined]


def _edited(source: str, edits: Iterable[SourceEdit]) -> str:
    lines: list[bytes | None] = [line.encode() for line in source.splitlines()]
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        (first, left), (last, right) = edit.start, edit.end
        before, after = (lines[first] or b"")[:left], (lines[last] or b"")[right:]
        kept = (before.rstrip(b"@ ") if not edit.text else before) + edit.text.encode() + after.lstrip(b"; ")
        lines[first : last + 1] = [kept if kept.strip() else None] + [None] * (last - first)
    return "\n".join(line.decode() for line in lines if line is not None).strip()


def _heading(module: str, docstring: str) -> str:
    told = [f"# {line}".rstrip() for line in docstring.splitlines() if module != LOADER]  # it tells of more
    title = f"# ---- {module} "
    return "\n".join([title.ljust(120, "-"), *told])


@dataclass(frozen=True)
class Modelling:
    """A modelling file: its text, what its classes are called, and whether it needs einops, too."""

    text: str
    config: str
    model: str
    needs_einops: bool


def modelling_file(
    source: str, title: str, code: Code | None = None, mixers: Mapping[str, str] | None = None
) -> Modelling:
    """The file around a candidate's source, under a title; reads sources, and runs none of them.

    With `mixers`, the sources of the others in its pattern by name, the file of a hybrid; a source that is a pattern is
    one of those alone.
    """
    code = code or installed()
    own = {} if pattern_of(source) else {CANDIDATE_SLOT: source}
    sources = {**own, **(mixers or {})}
    candidates = {name: Candidate(text, code, nested=bool(mixers)) for name, text in sources.items()}
    inliner = Inliner(code, replaced(code, hybrid=bool(mixers)), _taken([*candidates.values()]))
    inliner.take([*ROOTS, *(root for one in candidates.values() for root in one.roots)])
    inliner.name_all()
    if any("" not in paths for one in candidates.values() for paths in one.wanted.values()):
        inliner.name(NAMESPACE, "SimpleNamespace", CANDIDATE)
    sections = {
        module: [_heading(module, inliner.source(module).docstring), *map(inliner.text, inliner.pieces(module))]
        for module in inliner.modules
    }
    around = [sections.pop(module) for module in (LOADER, BACKBONE)]
    texts = {name: one.text(inliner.meant) for name, one in candidates.items()}
    sections[CANDIDATE] = [_heading(CANDIDATE, ""), *(_in_functions(texts) if mixers else texts.values())]
    body = [piece for section in (*sections.values(), *around) for piece in section]
    parts = ", ".join([*sections, LOADER, BACKBONE])
    head = f'"""{title}\n\n{textwrap.fill(f"In this file, in order: {parts}.", 118)}\n"""'
    imports = ["from __future__ import annotations", "", *inliner.import_lines()]
    text = "\n\n\n".join(["\n".join([head, "", *imports]), *body]) + "\n"
    address = digest([content_address(one) for one in sources.values()]) if mixers else content_address(source)
    apart = text.replace('"asiarc::', f'"asiarc_{address}::')  # torch has one operator of a name
    config, model = (inliner.meant[root] for root in ROOTS)
    return Modelling(apart, config, model, any(one.needs_einops for one in candidates.values()))


def _taken(candidates: list[Candidate]) -> dict[str, Key]:
    """What the names of all mixers stand for; what one calls its own is no other definition's name in the file."""
    functions = [f"mixer_{index}" for index in range(len(candidates))] if candidates[0].nested else []
    found = {name: key for one in candidates for name, key in one.taken.items()}
    own = [name for one in candidates for name, key in one.taken.items() if key[0] == CANDIDATE]
    return found | {name: (CANDIDATE, name) for name in (*own, *functions, "Mixer", "MIXERS")}


def _in_functions(texts: Mapping[str, str]) -> Iterator[str]:
    """Each mixer in a function that gives its class, and `MIXERS`, the classes by name."""
    for index, text in enumerate(texts.values()):
        yield f"def mixer_{index}():\n{_indented(text)}\n\n    return Mixer"
    calls = (f"    {name!r}: mixer_{index}(),\n" for index, name in enumerate(texts))
    yield f"MIXERS = {{\n{''.join(calls)}}}"


def _indented(source: str) -> str:
    """Statements inside a function; what stands inside of a text stays where it is."""
    texts = (n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.Constant, ast.JoinedStr)))
    within = {line for node in texts for line in range(node.lineno, node.end_lineno or 0)}
    lines = enumerate(source.split("\n"))
    return "\n".join(f"    {line}" if line and number not in within else line for number, line in lines)
