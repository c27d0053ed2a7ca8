"""What is run and how it ends: `Job`, `Limits`, `Result`, and the `Executor` protocol that every runner
obeys."""

from __future__ import annotations

import contextlib
import importlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from asiarc.execution.attempt import attempt
from asiarc.execution.line import Line, LineError
from asiarc.execution.shelf import Shelf

Status = Literal["ok", "crashed", "timed_out", "out_of_memory", "infrastructure"]
OnResult = Callable[[int, "Result"], None]
MIB = 1 << 20
KEPT = "kept"  # the file by which a job's first process hands on what its second may have


@dataclass(frozen=True)
class Limits:
    """What one job may spend; every number is a hard limit of the process that runs it.

    `cpu_s` is counted by the kernel in whole seconds (rounded up). `memory_bytes` is address space on top of
    what the warm worker already maps. `file_bytes` bounds each file and, where mounts are offered, the
    scratch folder as a whole. `result_bytes` bounds the result as JSON text. `processes` is how many other
    processes the job may start: with 0 it can neither fork nor execute a program.
    """

    wall_s: float = 120.0
    cpu_s: float = 120.0
    memory_bytes: int = 2048 * MIB
    file_bytes: int = 64 * MIB
    result_bytes: int = 4 * MIB
    processes: int = 0

    def __post_init__(self) -> None:
        assert self.wall_s > 0 and self.cpu_s > 0, "time limits are positive"
        assert min(self.memory_bytes, self.file_bytes, self.result_bytes) > 0, "size limits are positive"


@dataclass(frozen=True)
class Job:
    """One call `function(payload)` in a fresh process of the sandbox.

    `function` is ``"package.module:callable"``, trusted code that takes a JSON object and returns one;
    `label` names the job in reasons and logs.

    A job that is judged names two more: `then`, called as ``then(payload, line)`` in a second fresh process once
    `function` has left a file `KEPT`, which is all that reaches it; and `referee`, called as ``referee(secret, line)``
    outside the sandbox, at the other end of that line. `secret` never reaches the sandbox, and the result's value is
    the referee's.

    A job with a `shelf` can be gone on with: `function` takes a second argument, its `Checkpoints`, which is missing
    where the disk keeps none.
    """

    function: str
    payload: dict[str, Any]
    limits: Limits = field(default_factory=Limits)
    label: str = ""
    then: str = ""
    referee: str = ""
    secret: dict[str, Any] = field(default_factory=dict)
    shelf: Shelf | None = None

    def __post_init__(self) -> None:
        for function in (self.function, *filter(None, (self.then, self.referee))):
            module, colon, name = function.partition(":")
            assert module and colon and name, f"a job's function is 'package.module:callable', not {function!r}"
        assert bool(self.then) == bool(self.referee), "a line has two ends"

    def as_text(self) -> str:
        """The job as JSON, for the way to its worker; ValueError where the payload has what JSON has not."""
        parts = {"limits": vars(self.limits), "shelf": self.shelf and vars(self.shelf)}
        return json.dumps(vars(self) | parts, allow_nan=False)

    def parts(self) -> tuple[bytes, bytes]:
        """What goes to the worker, as JSON: all but the secret, and the secret alone."""
        return replace(self, secret={}).as_text().encode(), json.dumps(self.secret, allow_nan=False).encode()

    @classmethod
    def from_text(cls, text: str | bytes) -> Job:
        """The inverse of `as_text`."""
        fields = json.loads(text)
        shelf = Shelf(**fields["shelf"]) if fields["shelf"] else None
        return cls(**fields | {"limits": Limits(**fields["limits"]), "shelf": shelf})


def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """The job that does nothing: what a sandbox costs, and which of its layers hold."""
    return payload


@dataclass(frozen=True)
class Result:
    """How a job ended.

    `value` is the returned JSON object when `status` is ``"ok"`` and None otherwise; `reason` then says what
    happened. ``"infrastructure"`` is the machine's or the harness's fault, never the candidate's. Seconds and
    bytes are the kernel's count for the job's process; `peak_memory_bytes` includes what the warm worker
    shares with it. `layers` names the layers that held. Of a judged job, `parts_cpu_s` are the seconds of its two
    processes and of its referee, `parts_wall_s` those of its two processes by the clock. `energy_j` and
    `gpu_memory_bytes` are a gauge's (`gauge`), None where the machine has none. `notes` say what became of its
    checkpoints; where it went on from one, seconds are the sum over its attempts.
    """

    status: Status
    value: dict[str, Any] | None = None
    reason: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    layers: tuple[str, ...] = ()
    parts_cpu_s: tuple[float, ...] = ()
    parts_wall_s: tuple[float, ...] = ()
    energy_j: float | None = None
    gpu_memory_bytes: int | None = None
    notes: tuple[str, ...] = ()


class Executor(Protocol):
    """Runs jobs: all of them, in any order, answering in the order given."""

    def run(self, jobs: Sequence[Job], on_result: OnResult | None = None) -> list[Result]:
        """Run all jobs; call `on_result(index, result)` in the calling thread as each ends; return in job
        order."""
        ...


def resolve(function: str) -> Callable[..., Any]:
    """Import the callable that ``"package.module:callable"`` names."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


class InlineExecutor:
    """Runs jobs in this very process, with no sandbox and no limits: to debug trusted code, never for
    candidates."""

    def __enter__(self) -> InlineExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, jobs: Sequence[Job], on_result: OnResult | None = None) -> list[Result]:
        """As `Executor.run`; an exception of the job becomes ``"crashed"``, its limits are not enforced, and it has
        no checkpoints."""
        results = []
        for index, job in enumerate(jobs):
            results.append(_run_here(job))
            if on_result is not None:
                on_result(index, results[-1])
        return results


def _run_here(job: Job) -> Result:
    started, cpu_started = time.perf_counter(), time.process_time()
    value, failure = attempt(lambda: _as_json(resolve(job.function)(job.payload) if not job.then else _judged(job)))
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    if failure is None:
        return Result("ok", value, "", wall_s, cpu_s)
    status: Status = "out_of_memory" if failure.out_of_memory else "crashed"
    return Result(status, None, str(failure), wall_s, cpu_s)


def _judged(job: Job) -> Any:
    """Both processes' parts and the referee's, here: the part that answers runs in a thread."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        resolve(job.function)(job.payload)
        mine, theirs = Line.pair()
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(_answer, job, theirs)
            try:
                return resolve(job.referee)(job.secret, mine)
            except LineError:
                answering.result()  # what it died of says more
                raise
            finally:
                mine.close()


def _answer(job: Job, line: Line) -> None:
    try:
        resolve(job.then)(job.payload, line)
    finally:
        line.close()


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))
