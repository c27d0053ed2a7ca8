"""Examines a kernel for ways to look right or fast without being it.

The judge makes the inputs, knows the answers and holds the clock; the kernel runs in `arena`. Every check runs,
whatever the others found. The hacks are those that kernel competitions and kernel-writing models have been caught
at; each has a planted cheat in ``tests/speed/cheats`` which names, in its first line, the check that must catch it.

What a kernel is: what a file declares (`Kernel`, whose reference then runs in a process of its own), or a file that
defines a function named as one of our operators, with that operator's tensor arguments, and `RUNS`, the torch operators
that it says it runs on; such a file may import torch, math, einops and `asiarc.kernels.chunked`.
"""

from __future__ import annotations

import ast
import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asiarc.core.candidate import read_source
from asiarc.core.kernel import Kernel
from asiarc.core.seeds import seed_of
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.speed.arena import ALLOWED_KERNELS, serve_kernel
from asiarc.speed.cases import Case, Tensors, error_of, exact
from asiarc.speed.loading import roots_of
from asiarc.speed.worker import Worker, WorkerError, raw

CHECKS = (
    "imports", "correct", "precision", "local", "gradients", "long memory", "timed outputs", "fresh data", "aliases",
    "inputs kept", "poison", "bitwise", "same work", "declared path", "faults", "plain tensors", "background",
    "settings", "patches", "files", "surroundings", "floor", "goldens",
)  # fmt: skip
ALLOWED_IMPORTS = {"torch", "math", "einops", "typing", "collections.abc", "__future__", *ALLOWED_KERNELS}
DECLARED_IMPORTS = {"asiarc", "triton", "functools", "dataclasses", "itertools"}
"""What a file that declares kernels, and what it imports of its own repository, may import besides."""
BANNED_NAMES = {"eval", "exec", "compile", "__import__", "open", "globals", "vars", "breakpoint"}
WRONG, COARSE, UNEVEN = 1e-2, 2, 6
"""Global error that is plainly wrong; most times the declared one, and most times of any 16 tokens of a head."""
FLOPS_PER_S = 2.5e11
"""More float32 arithmetic than any single core does; twelve D^2 a token and head is the least that is needed."""
BYTES_PER_S = 1e12
"""More memory than any single core reads and writes; every input and output once is the least that is needed."""
LARGE = {"gated_delta_rule": dict(B=1, T=1024, H=1, D=512)}
"""Where arithmetic alone takes long."""
CALLS = 24
RERUNS = 5
IDLE_S = 0.1
UNDER_TEST = {"PYTEST_CURRENT_TEST": "test_speed.py::test (call)"}

HACKS = (
    "cache by identity, pointer, content or version", "replay from a file or an earlier process",
    "stale or uninitialised buffer", "constant, identity or zero output", "inputs changed in place",
    "work after return", "lazy tensor", "patched timers and helpers", "less precision than declared",
    "special-cased shapes or inputs", "backward skipped", "calls the reference or a library", "silent fall-back",
    "right in warm-up only", "computes on the first calls only", "warms caches or clocks",
    "hides in a global tolerance", "far context dropped", "looks for the test", "a time that is no time",
    "another path than declared", "tunes itself while timed", "garbage that happens to work", "edits tests or goldens",
)  # fmt: skip

Findings = dict[str, str]


@dataclass(frozen=True)
class Judged:
    """What the judge found: check -> reason, for the checks that did not pass."""

    kernel: str
    findings: Findings

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(frozen=True)
class Examinee:
    """A kernel to examine: its declaration, its file (None: one of ours), and whether the file declares it.

    `answers` holds the reference of a file that declares its own; ours are trusted in this process.
    """

    name: str
    kernel: Kernel
    file: Path | None
    answers: Worker | None = None

    def expected(self, case: Case) -> Tensors:
        """The right answers, of what is declared to be right."""
        tensors = tensors_of(case)
        if self.answers:
            (found,) = self.answers.exchange("exact", tensors, plain=case.plain)[1]
        else:
            found = right(case, tensors)
        wanted = "gradients" in self.kernel.holds
        return {name: x for name, x in found.items() if wanted or name in self.kernel.made}


def right(case: Case, tensors: list[Tensors]) -> Tensors:
    """The answers of one of our references."""
    leaves = {n: x.detach().requires_grad_(case.kernel.inputs[n].differentiable) for n, x in tensors[0].items()}
    return exact(case, leaves)


class Examination:
    """One kernel in one child process, with its findings so far."""

    def __init__(self, worker: Worker, subject: Examinee, seed: int) -> None:
        self.worker, self.subject, self.seed = worker, subject, seed
        self.findings: Findings = {}
        self.runs: list[str] = []
        self.known: dict[str, Tensors] = {}

    def finds(self, check: str, reason: object) -> None:
        """Notes the first reason of a check, where there is one."""
        assert check in CHECKS
        if reason:
            self.findings.setdefault(check, str(reason))

    def case(self, purpose: str, shape: str = "", family: str = "moderate", **fixed: int) -> Case:
        """A case that the kernel cannot know; `fixed` gives axes their lengths, within what is declared of them, and
        cases of one `shape` are alike in the others."""
        kernel = self.subject.kernel
        drawn = torch.Generator().manual_seed(seed_of("judge", self.seed, shape or purpose))
        lengths = {kernel.batch if n == "B" else kernel.time if n == "T" else n: length for n, length in fixed.items()}
        sizes = {}
        for name, (low, high) in kernel.drawn().items():
            picked = int(torch.randint(max(low, high // 4), high + 1, (), generator=drawn))
            wanted = lengths.get(name, picked)
            sizes[name] = min(max(wanted, low), high) if name in kernel.ranges else wanted
        value = seed_of("judge", self.seed, purpose, "values") % 2**31
        known = family if family in kernel.families else "moderate"
        return Case(self.subject.name, kernel, sizes, kernel.dtypes[0], known, value)

    def compare(self, actual: Tensors, case: Case) -> Findings:
        """What is wrong with an outcome of a case."""
        key = case.place
        if key not in self.known:
            self.known[key] = self.subject.expected(case)
        return compare(actual, self.known[key], self.subject.kernel.bound(case.dtype))

    def differs(self, one: Tensors, other: Tensors) -> bool:
        """Whether two outcomes of equal calls differ where the kernel is declared to be deterministic."""
        return "deterministic" in self.subject.kernel.holds and not same_bits(one, other)

    def call(self, case: Case, **options: Any) -> tuple[dict[str, Any], list[Tensors]]:
        """Runs the kernel on a case; the facts seen, and [outcome, inputs afterwards, earlier outputs]."""
        return self.worker.exchange("run", tensors_of(case), **options)


def tensors_of(case: Case) -> list[Tensors]:
    """Inputs and upstream gradients as they go to the kernel."""
    upstream = {str(i): d for i, d in enumerate(case.upstream())}
    return [{name: x.detach() for name, x in case.inputs().items()}, upstream]


def same_bits(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Equal bit for bit (a NaN equals itself)."""
    return a.keys() == b.keys() and all(
        a[n].shape == b[n].shape and a[n].dtype == b[n].dtype and raw(a[n]) == raw(b[n]) for n in a
    )


def global_error(actual: Tensor, right: Tensor) -> float:
    """|actual - right| / |right| over the whole tensor."""
    off = float((actual.double() - right).norm()) / max(float(right.norm()), 1e-30)
    return off if math.isfinite(off) else math.inf


def compare(actual: Tensors, right: Tensors, bound: float) -> Findings:
    """What is wrong with an outcome: plainly, in precision, or in one place only, for the declared error."""
    shapes = {n for n in right if n not in actual or actual[n].shape != right[n].shape}
    if shapes:
        return {"correct": f"missing or misshapen: {sorted(shapes)}"}
    found: Findings = {}
    off = {name: global_error(actual[name], right[name]) for name in right}
    local = error_of({name: actual[name] for name in right}, right)
    for name, value in off.items():
        kind = "gradients" if name.startswith("d") and value > max(WRONG, COARSE * bound) else "correct"
        if value > max(WRONG, COARSE * bound):
            found.setdefault(kind, f"{name} is off by {value:.1e}")
        elif value > COARSE * bound:
            found.setdefault("precision", f"{name} is off by {value:.1e}; declared is at most {bound:g}")
        elif local[name] > UNEVEN * bound:
            found.setdefault("local", f"{name} is off by {local[name]:.1e} in one place, {value:.1e} over all")
    return found


def imports_of(source: str, more: Collection[str] = ()) -> str:
    """What a kernel's source reaches for that it may not, for `more` packages that it may import."""
    roots = {"torch", "einops", *more}
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        bad = [n for n in names if n not in ALLOWED_IMPORTS and n.split(".")[0] not in roots]
        if isinstance(node, ast.Name) and node.id in BANNED_NAMES:
            bad = [node.id]
        if bad:
            return f"line {node.lineno}: {bad[0]}"  # type: ignore[attr-defined]
    return ""


def check_results(e: Examination) -> None:
    """Right on hidden shapes, for every input and gradient, at every gate, over long memory."""
    for purpose in ("shape 1", "shape 2", "shape 3", "reset"):
        case = e.case(purpose, family="reset" if purpose == "reset" else "moderate")
        facts, (actual, after, _) = e.call(case)
        for check, reason in e.compare(actual, case).items():
            e.finds(check, f"{reason} at {case.place}")
        if not same_bits(after, tensors_of(case)[0]):
            e.finds("inputs kept", "an input is another one after the call")
        e.finds("plain tensors", "" if facts["plain"] else "an output is not a plain torch.Tensor with memory")
        e.finds("background", f"{facts['running']} threads run on after return" if facts["running"] > 0 else "")
        e.finds("aliases", f"{facts['laid over']} lie in an input's memory" if facts["laid over"] else "")
        missing = [name for name in e.runs if name not in facts["operators"]]
        e.finds("declared path", f"says that it runs on {missing}, ran {facts['operators']}" if missing else "")
    far = e.case("far", B=1, T=400, family="open")
    wrong = e.compare(e.call(far)[1][0], far)
    e.finds("long memory", wrong and f"{'; '.join(wrong.values())} at {far.place}")


def check_memory(e: Examination) -> None:
    """Nothing is remembered, nothing is reused, nothing is read before it is written, no work is skipped."""
    one, two = (e.case(purpose, shape="memory", B=2, T=64) for purpose in ("one", "two"))
    facts, (first, _, _) = e.call(one)
    again, (second, _, kept) = e.call(two, same_buffers=True)
    earlier = {name: first[name] for name in kept}
    e.finds("aliases", "" if kept and same_bits(earlier, kept) else "an earlier output changed with a later call")
    if wrong := e.compare(second, two):
        e.finds("fresh data", f"new data in the same buffers: {'; '.join(wrong.values())}")
    repeated, (third, _, _) = e.call(one)
    e.finds("fresh data", "the same data in new buffers gives other results" if e.differs(first, third) else "")
    elements = [f["elements"] for f in (facts, again, repeated)]
    uneven = max(elements) > 1.1 * min(elements)
    e.finds("same work", f"elements computed in three calls of one shape: {elements}" if uneven else "")
    _, (clean, _, _) = e.call(one, poison=True)
    e.finds("poison", "the result depends on memory that nobody wrote" if e.differs(clean, first) else "")
    for _ in range(RERUNS):
        _, (rerun, _, _) = e.call(one)
        e.finds("bitwise", "two equal calls give different bits" if e.differs(rerun, first) else "")


def check_faults(e: Examination) -> None:
    """An operator that fails must fail the kernel, not send it down another road."""
    case = e.case("fault", B=1, T=48)
    for share in (0.0, 0.5, 1.0):
        answer = e.worker.exchange("fault", tensors_of(case), share=share)[0]
        e.finds("faults", f"went on when an operator {share:.0%} of the way failed" if answer["returned"] else "")


def check_timed(e: Examination) -> None:
    """What is timed is right, no quicker than the arithmetic, and over when it says so."""
    timed = Case(e.subject.name, e.subject.kernel, e.subject.kernel.measured(), e.subject.kernel.dtypes[0])
    sets = [timed.at(seed=seed_of("judge", e.seed, "timed", i) % 2**31) for i in range(3)]
    e.worker.exchange("take", [group for case in sets for group in tensors_of(case)])
    e.worker.ask("go", calls=CALLS)
    pick = seed_of("judge", e.seed, "pick")
    for index in {0, pick % CALLS, pick // CALLS % CALLS, CALLS - 1}:
        (actual,) = e.worker.exchange("give", index=index)[1]
        wrong = e.compare(actual, sets[index % len(sets)])
        e.finds("timed outputs", wrong and f"call {index}: {'; '.join(wrong.values())}")
    large = timed.at(
        sizes=LARGE.get(timed.name, timed.sizes), seed=seed_of("judge", e.seed, "large") % 2**31
    )
    e.worker.exchange("take", tensors_of(large))
    least = least_s(large)
    spent = min(e.worker.slice_s(1) for _ in range(3))
    e.finds(
        "floor", f"{spent * 1e3:.2f} ms, less than arithmetic takes ({least * 1e3:.2f} ms)" if spent < least else ""
    )
    before = e.worker.cpu_s()
    time.sleep(IDLE_S)
    idle = e.worker.cpu_s() - before
    e.finds("background", f"{idle * 1e3:.0f} ms of work in an idle moment" if idle > 0.2 * IDLE_S else "")


def least_s(case: Case) -> float:
    """Seconds below which no core computes a case: its inputs and outputs once through memory, and what is known of the
    arithmetic."""
    moved = sum(x.nbytes for group in tensors_of(case) for x in group.values())
    sizes, counted = case.sizes, case.name in LARGE
    flops = 12 * sizes["B"] * sizes["T"] * sizes["H"] * sizes["D"] ** 2 if counted else 0
    return max(moved / BYTES_PER_S, flops / FLOPS_PER_S)


def check_conduct(e: Examination, home: Path, goldens: Path, digest: str) -> None:
    """What was patched, set, opened, imported and written meanwhile."""
    facts = e.worker.ask("leave")
    e.finds("patches", ", ".join(facts["patched"][:3]))
    e.finds("settings", ", ".join(facts["settings"]))
    e.finds("background", f"{facts['running']} threads run on" if facts["running"] > 0 else "")
    for event in facts["events"]:
        check, _, what = event.partition(": ")
        e.finds(check, what)
    written = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and path != goldens]
    e.finds("files", f"wrote {written[:3]}" if written else "")
    e.finds("goldens", "" if goldens.exists() and sha(goldens) == digest else "the expected values were edited")


def sha(path: Path) -> str:
    """The hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_surroundings(e: Examination, home: Path) -> None:
    """The same bits in a test run and in a training script: other environment, folder, arguments and stack."""
    case = e.case("surroundings", B=2, T=80)
    home.mkdir()
    with arena() as worker:
        other = Examination(worker, e.subject, e.seed)
        load(other, home, {}, ["train.py"], plain_thread=True)
        (_, (here, _, _)), (_, (there, _, _)) = e.call(case), other.call(case)
    e.finds("surroundings", "another result where no test is to be seen" if e.differs(here, there) else "")


STEPS: dict[Callable[[Examination], None], set[str]] = {
    check_results: {
        "correct", "precision", "local", "gradients", "long memory", "inputs kept", "plain tensors", "background",
        "aliases", "declared path",
    },
    check_memory: {"fresh data", "aliases", "same work", "poison", "bitwise"},
    check_faults: {"faults"},
    check_timed: {"timed outputs", "floor", "background"},
}  # fmt: skip
CONDUCT = {"patches", "settings", "background", "files", "imports", "goldens"}


def examine(file: Path | None, *, operator: str = "gated_delta_rule", seed: int = 0, only: str | None = None) -> Judged:
    """Everything that is wrong with a file that defines one of our operators, or with the shipped one where `file` is
    None.

    `only` names one check and leaves out what cannot find it.
    """
    return examined(Examinee(operator, KERNELS[operator], file), seed, only)


def examined(subject: Examinee, seed: int = 0, only: str | None = None) -> Judged:
    """Everything that is wrong with a kernel."""
    file = subject.file
    name = file.stem if file else f"asiarc.kernels.{subject.name}"
    static = imports_of(read_source(file)) if file and not subject.answers else ""
    steps = [step for step, checks in STEPS.items() if only is None or only in checks] or [check_faults]
    with tempfile.TemporaryDirectory(prefix="asiarc-judge-") as folder, arena() as worker:
        home = Path(folder) / "a"
        goldens = home / "tests/speed/goldens/accuracy.json"
        goldens.parent.mkdir(parents=True)
        goldens.write_text('{"values": {}}\n')
        digest = sha(goldens)
        e = Examination(worker, subject, seed)
        e.finds("imports", static)
        try:
            load(e, home, UNDER_TEST, ["pytest"])
        except WorkerError as error:
            return Judged(name, {**e.findings, "correct": f"cannot be loaded: {error}"})
        for step in steps:
            attempt(e, step)
        if only in (None, "surroundings"):
            attempt(e, lambda e: check_surroundings(e, Path(folder) / "b"))
        if only is None or only in CONDUCT:
            attempt(e, lambda e: check_conduct(e, home, goldens, digest))
    return Judged(name, e.findings)


def attempt(e: Examination, step: Callable[[Examination], None]) -> None:
    """A step; a kernel that raises or dies in it is not correct."""
    try:
        step(e)
    except WorkerError as error:
        e.finds("correct", f"raises: {error}")


def arena() -> Worker:
    """A fresh process for a kernel; torch is imported once for all of them."""
    return Worker(serve_kernel, method="forkserver")


def load(e: Examination, home: Path, environ: dict[str, str], argv: list[str], *, plain_thread: bool = False) -> None:
    """Loads a kernel into an arena."""
    subject = e.subject
    answer = e.worker.ask(
        "load",
        file=str(subject.file.resolve()) if subject.file else "",
        name=subject.name,
        declares=subject.answers is not None,
        outputs=list(subject.kernel.made),
        leaves=[name for name, given in subject.kernel.inputs.items() if given.differentiable],
        environ={"HOME": str(home), "TMPDIR": str(home), "PATH": "/usr/bin:/bin", **environ},
        argv=argv,
        plain_thread=plain_thread,
    )
    e.runs = answer["runs"]
    for source in map(Path, answer["sources"]):
        own = {path.stem for root in roots_of(source) for path in root.iterdir()}
        beside = {path.stem for path in source.parent.iterdir()}
        wrong = imports_of(read_source(source), {*DECLARED_IMPORTS, *own, *beside})
        e.finds("imports", wrong and f"{source.name}: {wrong}")
    if subject.file is not None and subject.answers is None and not e.runs:
        e.finds("declared path", "declares no RUNS")


def named_check(source: str) -> str:
    """The check that a cheat's first line names: ``# caught by: CHECK``."""
    return source.partition("\n")[0].removeprefix("# caught by: ").strip()


def hack_of(source: str) -> str:
    """The hack that a cheat's second line names: ``# hack: ...``."""
    return source.split("\n")[1].removeprefix("# hack: ").strip()
