"""Two commits timed in turn: ``python -m tests.rigs kernels compare --against COMMIT``.

The other commit is checked out to a temporary git worktree. One worker a side, pinned to the same core and driven in
slices of about 20 ms; a side whose results are wrong gets no time, and neither does a case that the other commit
lacks: that is a missing baseline, and it fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asiarc.kernels.operators import OPERATORS
from asiarc.speed import SpeedError
from asiarc.speed.cases import Case
from asiarc.speed.machine import Watch
from asiarc.speed.paired import Ratio, best_of, confirmed, paired_ratio
from asiarc.speed.worker import Worker, WorkerError, tree_worker, wrong

SLICE_S = 0.02
TOLERANCE = 1e-3
"""Largest error against float64 of a float32 result that may be timed."""
SETS = 3
"""Input sets that the timed calls rotate through."""
CASES = tuple(Case(operator, 4, 256, 4, 32) for operator in OPERATORS)


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
        after = "; ".join(
            why for worker, tree in ((a, base), (b, head)) if (why := ready(worker, tree, case))
        )
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
