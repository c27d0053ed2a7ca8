"""The code that a number rests on, as digests: what each entry point reaches, and the kernels that a candidate calls.

Everything that an entry point reaches counts, but for what `STOPS` names with a reason: what is forgotten here makes a
key move too often, never too seldom.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Literal, get_args

from asiarc.core.candidate import parse
from asiarc.core.digest import digest
from asiarc.core.errors import CandidateError
from asiarc.core.reach import Code, Reached, installed

Entry = Literal["trial", "admission", "pace", "fingerprint", "run"]
ENTRIES: tuple[Entry, ...] = get_args(Entry)
KERNELS = "asiarc.kernels"

ROOTS: dict[Entry, tuple[str, ...]] = {
    "trial": (
        "asiarc.engineer.trial:train",
        "asiarc.engineer.trial:answer",
        "asiarc.engineer.referee:score",
        "asiarc.engineer.workshop:Request.limits",
        "asiarc.engineer.workshop:_trial_outcome",
        "asiarc.models.library:wrapped",
    ),
    "admission": (
        "asiarc.engineer.trial:admission",
        "asiarc.engineer.workshop:admit_limits",
        "asiarc.engineer.workshop:_read_admission",
        "asiarc.models.library:wrapped",
    ),
    "pace": (
        "asiarc.engineer.pace:pace",
        "asiarc.engineer.workshop:admit_limits",
        "asiarc.engineer.workshop:_pace_outcome",
        "asiarc.models.library:wrapped",
    ),
    "fingerprint": (
        "asiarc.engineer.fingerprint:fingerprint",
        "asiarc.engineer.workshop:admit_limits",
        "asiarc.models.library:wrapped",
    ),
    "run": tuple(f"asiarc.loop.run:Run.{stage}" for stage in ("explore", "verify", "confirm")),
}
"""What answers: the jobs in the sandbox, each with its limits and what reads its answer, what a candidate may
be wrapped in, and the loop."""

STOPS: dict[str, str] = {
    "asiarc.core.errors": "says what a person did wrong",
    "asiarc.loop.progress": "says how a run goes",
    "asiarc.execution": "runs jobs and hands back what they return, wherever that is",
    "asiarc.engineer.warm": "imports early what a trial imports anyway",
    "asiarc.llm.endpoint": "carries a question and its reply",
    "asiarc.campaign.identity": "makes the keys: another way makes other keys by itself",
    "asiarc.campaign.code": "makes the keys",
    "asiarc.core.reach": "makes the keys",
    "asiarc.tasks.task:Task.identity": "makes the keys",
    "asiarc.tasks.catalogue:CATALOGUE": "every task: those that are used are in the key by their own identity",
    "asiarc.tasks.catalogue:ALIASES": "every task's other names",
    "asiarc.tasks.corpus": "is in the identity of each task that reads it",
    "asiarc.tasks.synthetic": "is in the identity of each task that draws from it",
    "asiarc.tasks.lm_eval_config": "is in the identity of each task",
    "asiarc.tasks.own": "is in the identity of each task of one's own",
    "asiarc.tasks.documents": "is in the identity of each task of given documents",
    "asiarc.tasks.tokens": "is in the identity of each text that is tokens",
    "asiarc.tasks.rendering": "makes documents, whose content is their task's key",
    "asiarc.tasks.source": "makes the keys of tasks of one's own",
    "asiarc.tasks.keep": "keeps what is in the identity of each task that opens it",
}
"""What is reached and decides no number: a module with all below it, or a definition."""

DATA: dict[str, str] = {
    "cognition/entries/*.toml": "asiarc.cognition.entry",
    "archive/schema.sql": "asiarc.archive.store",
}
"""Files that count where the module that reads them is reached."""

DECIDES_NOTHING: dict[str, str] = {
    "py.typed": "is empty",
    "campaign.schema.json": "is made from the declaration, for editors",
    "tasks/templates/*.yaml": "is in the identity of each task that uses it",
    "report/templates/*": "is how a report looks",
}
"""The other files of the package that are no Python, each with the reason why no entry point counts it."""


@cache
def reached(entry: Entry, code: Code | None = None) -> Reached:
    """What an entry point reaches, files included; another entry point's part is that one's own."""
    code = code or installed()
    others = {root for other in ENTRIES for root in ROOTS[other]} - set(ROOTS[entry])
    own_task = {"asiarc.tasks"} if entry == "trial" else set()  # whose identity is in the trial's key
    found = code.reach(ROOTS[entry], {*STOPS, *own_task, *others})
    read = [glob for glob, module in DATA.items() if module in found.modules]
    files = {file.name: digest(code.text(file)) for glob in read for file in sorted(code.folder.glob(glob))}
    named = found.definitions | {name: text[:4] for name, text in files.items()}
    return Reached(digest([found.whole, files]), named, found.places)


@lru_cache(maxsize=1024)  # sources come without end, and each is asked for by a few trials in a row
def kernels_of(source: str, backend: str, code: Code | None = None) -> dict[str, str]:
    """Digest by name of the operators that a candidate's source imports, in what a backend computes them with."""
    try:
        tree = parse(source)
    except CandidateError:  # what is no Python imports nothing, and the gates say so
        return {}
    names = sorted(set(_kernel_imports(tree)))
    return {name: kernel(name, backend, code) for name in names if name in operators(code)}


def _kernel_imports(tree: ast.Module) -> Iterator[str]:
    """The first name below `asiarc.kernels` in each import, wherever it stands."""
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (module.split(".")[2] for module in modules if module.startswith(f"{KERNELS}."))


@cache
def operators(code: Code | None = None) -> tuple[str, ...]:
    """Every operator: a module of the kernels that defines a function of its own name."""
    code = code or installed()
    names = sorted({path.stem for path in code.kernels.iterdir()})
    modules = {name: code.module(f"{KERNELS}.{name}") for name in names if name.isidentifier()}
    defined = (name for name, module in modules.items() if module and name in module.definitions)
    return tuple(name for name in defined if f"{KERNELS}.{name}" not in triton_modules(code))


@cache
def kernel(name: str, backend: str, code: Code | None = None) -> str:
    """The digest of one operator: "chunk", what any device runs; "triton", that and the GPU's.

    The GPU's part is the only one that imports triton, and is loaded late: the module ``triton`` of an operator's
    folder, or whatever the operator names.
    """
    code = code or installed()
    roots = [f"{KERNELS}.{name}:{name}"]
    if backend == "triton" and code.module(f"{KERNELS}.{name}.triton"):
        roots.append(f"{KERNELS}.{name}.triton:triton")
    on_gpu = set() if backend == "triton" else triton_modules(code)
    return code.reach(roots, {*STOPS, *on_gpu}).whole


@cache
def triton_modules(code: Code) -> frozenset[str]:
    """The modules of the kernels that import triton."""
    names = {f"{KERNELS}.{path.stem}" for path in code.kernels.iterdir()}
    modules = {name: code.module(name) for name in names}
    return frozenset(
        name
        for name, module in modules.items()
        if module and any(origin.partition(".")[0] == "triton" for origin in module.imports.values())
    )
