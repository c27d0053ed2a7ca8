"""Two commits timed in turn: ``python -m tests.rigs kernels compare --against COMMIT``.

The other commit is checked out to a temporary git worktree. One worker a side, pinned to the same core and driven in
slices of about 20 ms; a side whose results are wrong gets no time, and neither does a case that the other commit
lacks: that is a missing baseline, and it fails.

Unusual: only `asiarc.kernels` (and what it imports) comes from the given tree; the measuring code and its table of
operators are these on both sides of a comparison, and `loaded_from` proves which files ran.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import asiarc.speed
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.speed.cases import Case, shipped
from asiarc.speed.commits import baseline_commit, git, worktree
from asiarc.speed.contest import SETS, Compared, Side, contest, wrong
from asiarc.speed.paired import confirmed
from asiarc.speed.worker import Worker, WorkerError, loaded_worker, serve

__all__ = ["baseline_commit", "git", "worktree"]

TOLERANCE = 1e-3
"""Largest error against float64 of a float32 result that may be timed."""
CASES = tuple(shipped(operator, 4, 256, 4, 32) for operator in KERNELS)


def load_tree(tree: Path) -> None:
    """Makes `asiarc` and `asiarc.kernels` those of a checkout; the measuring code stays."""
    mine = asiarc.speed.__name__
    for name in [n for n in sys.modules if n.split(".")[0] == "asiarc" and not n.startswith(mine)]:
        del sys.modules[name]
    for name, folder in (("asiarc", tree / "asiarc"), ("asiarc.kernels", tree / "kernels")):
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None or not (folder / "__init__.py").exists():
            raise FileNotFoundError(f"no {folder.name}/__init__.py in {tree}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def loaded_from() -> list[str]:
    """The files of every loaded module of asiarc but the measuring ones."""
    mine = asiarc.speed.__name__
    return sorted(
        str(module.__file__)
        for name, module in sys.modules.items()
        if name.split(".")[0] == "asiarc" and not name.startswith(mine) and module.__file__
    )


class TreeSide(Side):
    """What a worker can be asked of a source tree."""

    def load(self, tree: str) -> dict[str, Any]:
        """Loads the operators of a checkout."""
        torch.set_num_threads(1)
        load_tree(Path(tree))
        return {}

    def prepare(self, case: dict[str, Any], sets: int) -> dict[str, Any]:
        """Makes input sets to rotate through and runs the operator; says how wrong it is and what was loaded."""
        made = case_of(case)
        return {"errors": self.take(made, made.call, sets), "files": loaded_from()}


def case_of(plain: dict[str, Any]) -> Case:
    """The case of one of our operators."""
    return Case(kernel=KERNELS[plain["name"]], **plain)


def serve_tree(connection: Connection) -> None:
    """The child's main loop for a source tree."""
    serve(connection, TreeSide())


def tree_worker(tree: Path, core: int | None = None) -> Worker:
    """A worker that has loaded a tree and then stays on a core; raises `WorkerError` where it cannot be loaded."""
    return loaded_worker(serve_tree, core, tree=str(tree))


def ready(worker: Worker, tree: Path, case: Case) -> str:
    """Prepares a case in a worker; why it may not be timed, or nothing."""
    try:
        answer = worker.ask("prepare", case=case.plain, sets=SETS)
    except WorkerError as error:
        return f"{case.name} does not run: {error}"
    strangers = [file for file in answer["files"] if not Path(file).resolve().is_relative_to(tree.resolve())]
    if strangers:
        return f"loaded from elsewhere: {', '.join(strangers)}"
    bad = wrong(answer["errors"], TOLERANCE)
    return f"errors above {TOLERANCE:g}: {bad}" if bad else ""


def compare_once(base: Path, head: Path, case: Case, *, slower: float = 0.0) -> Compared:
    """One measurement with fresh processes; `slower` slows the head down, for the self-test."""
    core = max(os.sched_getaffinity(0))
    with tree_worker(base, core) as a, tree_worker(head, core) as b:
        return contest(case, a, b, lambda: (ready(a, base, case), ready(b, head, case)), slower=slower)


def compare(base: Path, head: Path, case: Case, *, slower: float = 0.0) -> Compared:
    """One measurement, and a second one with fresh processes where the first says "slower"."""
    return confirmed(lambda: compare_once(base, head, case, slower=slower), lambda found: found.ratio)


def chosen(operators: Sequence[str]) -> list[Case]:
    """The cases of some operators, or all."""
    return [case for case in CASES if not operators or case.name in operators]
