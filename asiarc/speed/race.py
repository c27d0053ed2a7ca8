"""A declared kernel timed against the commit or the peer that it names: one process a side, slices in turn.

Results are checked before a time is taken, on both sides. With a commit the other side is the same file in a temporary
checkout, and what either side has loaded of the repository must come from its own tree.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import torch

from asiarc.core.kernel import Kernel
from asiarc.core.loading import module_of
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.speed import SpeedError
from asiarc.speed.cases import Case, measured_case, resolved
from asiarc.speed.commits import baseline_commit, git, worktree
from asiarc.speed.contest import SETS, Compared, Side, contest, wrong
from asiarc.speed.loading import loaded_below, one_kernel
from asiarc.speed.machine import require_own_process, require_quiet
from asiarc.speed.paired import confirmed
from asiarc.speed.worker import Worker, WorkerError, loaded_worker, serve

Role = Literal["function", "peer"]
PEER_ERROR = 1e-2
"""Largest error of a peer that is timed: its precision is its own affair, but it must compute the same."""


class DeclaredSide(Side):
    """What a worker can be asked of a declared kernel."""

    def load(self, file: str, name: str, role: Role, other: str) -> dict[str, Any]:
        """Loads a kernel of a file; `other` is the tree that nothing may come from."""
        torch.set_num_threads(1)
        self.name, self.kernel, self.other = name, one_kernel(Path(file), name), other
        assert self.kernel.speed is not None
        self.call = resolved(self.kernel.function if role == "function" else self.kernel.speed.peer)
        return {}

    def prepare(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Makes input sets, runs the kernel on one: how wrong it is, and what it has loaded from the other tree."""
        errors = self.take(Case(kernel=self.kernel, **plain), self.call, SETS)
        return {"errors": errors, "strangers": loaded_below(Path(self.other)) if self.other else []}


def serve_declared(connection: Connection) -> None:
    """The child's main loop for a declared kernel."""
    serve(connection, DeclaredSide())


class OperatorSide(Side):
    """What a worker can be asked of one of our operators: the shipped one, or another file's function of its name."""

    def load(self, file: str, name: str) -> dict[str, Any]:
        """Loads it; without a file it is ours, and nothing of another's is loaded beside it."""
        torch.set_num_threads(1)
        self.kernel = KERNELS[name]
        self.call = getattr(module_of(Path(file)), name) if file else resolved(self.kernel.function)
        return {}

    def prepare(self, plain: dict[str, Any]) -> dict[str, Any]:
        """As `DeclaredSide.prepare`; there is no other tree."""
        return {"errors": self.take(Case(kernel=self.kernel, **plain), self.call, SETS), "strangers": []}


def serve_operator(connection: Connection) -> None:
    """The child's main loop for one of our operators."""
    serve(connection, OperatorSide())


def against_ours(file: Path, name: str) -> Compared:
    """One measurement of a file's function for one of our operators against the shipped one. Raises as `race` does."""
    require_own_process()
    require_quiet()
    kernel = KERNELS[name]
    case, core = measured_case(name, kernel), max(os.sched_getaffinity(0))
    bound = kernel.bound(case.dtype)
    with (
        loaded_worker(serve_operator, core, file="", name=name) as ours,
        loaded_worker(serve_operator, core, file=str(file.resolve()), name=name) as theirs,
    ):
        return contest(case, ours, theirs, lambda: (ready(ours, case, bound), ready(theirs, case, bound)))


def ready(worker: Worker, case: Case, bound: float) -> str:
    """Prepares a case in a worker; why it may not be timed, or nothing."""
    try:
        answer = worker.ask("prepare", plain=case.plain)
    except WorkerError as error:
        return f"{case.name} does not run: {error}"
    if answer["strangers"]:
        return f"loaded from elsewhere: {', '.join(answer['strangers'])}"
    bad = wrong(answer["errors"], bound)
    return f"errors above {bound:g}: {bad}" if bad else ""


def race(file: Path, name: str, kernel: Kernel) -> Compared:
    """A kernel against what it names, measured again with fresh processes where it is slower.

    Raises `SpeedError` beside parallel test workers and where the commit is not to be had, `NotMeasuredError` where the
    machine is not quiet enough to begin.
    """
    require_own_process()
    assert kernel.speed is not None
    if not kernel.speed.commit:
        require_quiet()
        return confirmed(lambda: once(file, name, kernel, file, Path()), lambda found: found.ratio)
    root = Path(git("rev-parse", "--show-toplevel", root=file.parent))
    commit = baseline_commit(kernel.speed.commit, root)
    require_quiet()
    with worktree(commit, root) as tree:
        base = tree.resolve() / file.resolve().relative_to(root.resolve())
        return confirmed(lambda: once(file, name, kernel, base, tree.resolve(), root), lambda found: found.ratio)


def once(file: Path, name: str, kernel: Kernel, base: Path, tree: Path, root: Path | None = None) -> Compared:
    """One measurement; `base` is the kernel file of the other side, in its `tree` where it is another commit's."""
    assert kernel.speed is not None
    case, core = measured_case(name, kernel), max(os.sched_getaffinity(0))
    mine, theirs = (str(root), str(tree)) if root else ("", "")
    role: Role = "function" if root else "peer"
    bound = kernel.bound(case.dtype)
    other = bound if root else max(bound, PEER_ERROR)
    here = dict(file=str(file), name=name, role="function", other=theirs)
    there = dict(file=str(base), name=name, role=role, other=mine)
    if root and not base.exists():
        raise SpeedError(f"{file.name} is not in commit {kernel.speed.commit}: there is nothing to compare with.")
    with loaded_worker(serve_declared, core, **there) as a, loaded_worker(serve_declared, core, **here) as b:
        return contest(
            case, a, b, lambda: (ready(a, case, other), ready(b, case, bound)), limit=kernel.speed.at_most
        )
