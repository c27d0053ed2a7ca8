"""Two commits timed in turn: ``python -m tests.rigs kernels compare --against COMMIT``.

The other commit is checked out to a temporary git worktree. One worker a side, pinned to the same core and driven in
slices of about 20 ms; a side whose results are wrong gets no time, and neither does a case that the other commit
lacks: that is a missing baseline, and it fails.

Unusual: only `asiarc.kernels` (and what it imports) comes from the given tree; the measuring code and its table of
operators are these on both sides of a comparison, and `loaded_from` proves which files ran.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib.util
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import asiarc.speed
from asiarc.kernels.operators import OPERATORS
from asiarc.speed import SpeedError
from asiarc.speed.cases import Case, error_of, exact, outcome
from asiarc.speed.machine import Watch
from asiarc.speed.paired import Ratio, best_of, confirmed, paired_ratio
from asiarc.speed.worker import Worker, WorkerError, serve

SLICE_S = 0.02
TOLERANCE = 1e-3
"""Largest error against float64 of a float32 result that may be timed."""
SETS = 3
"""Input sets that the timed calls rotate through."""
CASES = tuple(Case(operator, 4, 256, 4, 32) for operator in OPERATORS)


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


class TreeSide:
    """What a worker can be asked of a source tree."""

    def __init__(self) -> None:
        self.sets: list[tuple[Any, ...]] = []
        self.turn = 0

    def load(self, tree: str) -> dict[str, Any]:
        """Loads the operators of a checkout."""
        torch.set_num_threads(1)
        load_tree(Path(tree))
        return {}

    def prepare(self, case: dict[str, Any], sets: int) -> dict[str, Any]:
        """Makes input sets to rotate through and runs the operator; says how wrong it is and what was loaded."""
        made = [Case(**{**case, "seed": case["seed"] + i}) for i in range(sets)]
        call = made[0].op.call
        self.sets = [(call, c.inputs(), c.upstream()) for c in made]
        self.turn = 0
        actual, expected = outcome(*self.sets[0]), exact(made[0], self.sets[0][1])
        gc.collect()
        gc.freeze()
        return {"errors": error_of(actual, expected), "files": loaded_from()}

    def go(self, calls: int, slower: float = 0.0) -> dict[str, Any]:
        """Runs forward and backward `calls` times; then keeps busy for `slower` times as long, for the self-test."""
        start = time.perf_counter()
        for _ in range(calls):
            outcome(*self.sets[self.turn % len(self.sets)])
            self.turn += 1
        end = start + (time.perf_counter() - start) * (1 + slower)
        while time.perf_counter() < end:
            pass
        return {}


def serve_tree(connection: Connection) -> None:
    """The child's main loop for a source tree."""
    serve(connection, TreeSide())


def wrong(errors: Mapping[str, float], most: float) -> str:
    """The tensors whose error is above `most` (or not a number), as text; empty when all are right."""
    bad = {name: e for name, e in errors.items() if not (math.isfinite(e) and e <= most)}
    return ", ".join(f"{name} {e:.1e}" for name, e in bad.items())


def tree_worker(tree: Path, core: int | None = None) -> Worker:
    """A worker that has loaded a tree and then stays on a core; raises `WorkerError` where it cannot be loaded."""
    worker = Worker(serve_tree)
    try:
        worker.ask("load", tree=str(tree))
    except WorkerError:
        worker.close()
        raise
    if core is not None:
        os.sched_setaffinity(worker.pid, {core})
    return worker


@dataclass(frozen=True)
class Compared:
    """One case on both sides: a ratio, or why there is none (`red`: wrong results or no baseline, which fails)."""

    case: Case
    ratio: Ratio
    red: str = ""
    base_ms: float | None = None
    head_ms: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the gate is red for this case."""
        return bool(self.red) or self.ratio.verdict == "slower"

    def line(self) -> str:
        """The case as text; no time where the results are red."""
        if self.red:
            return f"{self.case!s:42s} RED, not timed: {self.red}"
        times = "" if self.base_ms is None else f"{self.base_ms:8.2f} -> {self.head_ms:8.2f} ms  "
        return f"{self.case!s:42s} {times}{self.ratio}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "case": dataclasses.asdict(self.case),
            "ratio": self.ratio.as_dict(),
            "red": self.red,
            "base_ms": self.base_ms,
            "head_ms": self.head_ms,
        }


def git(*arguments: str, root: Path) -> str:
    """The output of a git command; raises `SpeedError` with git's own words."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SpeedError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def baseline_commit(against: str | None, root: Path) -> str:
    """The commit to compare with: the one named, or the merge base with main (on main itself, the commit before)."""
    if against is not None:
        return git("rev-parse", "--verify", f"{against}^{{commit}}", root=root)
    for main in ("origin/main", "main"):
        with contextlib.suppress(SpeedError):
            base = git("merge-base", "HEAD", main, root=root)
            if base != git("rev-parse", "HEAD", root=root):
                return base
    try:
        return git("rev-parse", "--verify", "HEAD~1", root=root)
    except SpeedError as error:
        raise SpeedError("there is no commit to compare with; name one: --against COMMIT.") from error


@contextlib.contextmanager
def worktree(commit: str, root: Path) -> Iterator[Path]:
    """A temporary checkout of a commit."""
    with tempfile.TemporaryDirectory(prefix="asiarc-speed-") as folder:
        path = Path(folder) / "tree"
        git("worktree", "add", "--detach", "--quiet", str(path), commit, root=root)
        try:
            yield path
        finally:
            git("worktree", "remove", "--force", str(path), root=root)


def ready(worker: Worker, tree: Path, case: Case) -> str:
    """Prepares a case in a worker; why it may not be timed, or nothing."""
    try:
        answer = worker.ask("prepare", case=dataclasses.asdict(case), sets=SETS)
    except WorkerError as error:
        return f"{case.operator} does not run: {error}"
    strangers = [file for file in answer["files"] if not Path(file).resolve().is_relative_to(tree.resolve())]
    if strangers:
        return f"loaded from elsewhere: {', '.join(strangers)}"
    bad = wrong(answer["errors"], TOLERANCE)
    return f"errors above {TOLERANCE:g}: {bad}" if bad else ""


def compare_once(base: Path, head: Path, case: Case, *, slower: float = 0.0) -> Compared:
    """One measurement with fresh processes; `slower` slows the head down, for the self-test."""
    core = max(os.sched_getaffinity(0))
    with tree_worker(base, core) as a, tree_worker(head, core) as b:
        red = "; ".join(
            f"{name}: {why}"
            for name, worker, tree in (("baseline", a, base), ("here", b, head))
            if (why := ready(worker, tree, case))
        )
        if red:
            return Compared(case, Ratio.nothing("red"), red)
        calls = max(1, round(SLICE_S / statistics.median(a.slice_s(1) for _ in range(5))))
        times: tuple[list[float], list[float]] = ([], [])

        def side(worker: Worker, kept: list[float], factor: float) -> float:
            kept.append(best_of(lambda: worker.slice_s(calls, factor)))
            return kept[-1]

        for worker in (a, b):
            worker.slice_s(calls)
        watch = Watch(lambda: a.cpu_s() + b.cpu_s())
        ratio = paired_ratio(lambda: side(a, times[0], 0.0), lambda: side(b, times[1], slower))
        if reason := watch.disturbance():
            return Compared(case, Ratio.nothing(reason, ratio.pairs))
        after = "; ".join(why for worker, tree in ((a, base), (b, head)) if (why := ready(worker, tree, case)))
        if after:
            return Compared(case, Ratio.nothing("red"), f"after timing: {after}")
        base_ms, head_ms = (statistics.median(t) / calls * 1e3 for t in times)
    return Compared(case, ratio, "", base_ms, head_ms)


def compare(base: Path, head: Path, case: Case, *, slower: float = 0.0) -> Compared:
    """One measurement, and a second one with fresh processes where the first says "slower"."""
    return confirmed(lambda: compare_once(base, head, case, slower=slower), lambda found: found.ratio)


def chosen(operators: Sequence[str]) -> list[Case]:
    """The cases of some operators, or all."""
    return [case for case in CASES if not operators or case.operator in operators]
