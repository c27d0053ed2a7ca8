"""`LocalExecutor`: jobs on this machine, over a pool of warm workers (`zygote.py`), each behind the wall.

The driver never imports torch and never runs a candidate. It decodes what a job sent only after the
supervisor has bounded its size, and `judge` alone turns an account into a `Result`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import selectors
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from asiarc.execution import frames
from asiarc.execution.attempt import Failure
from asiarc.execution.job import Job, Limits, OnResult, Result

_log = logging.getLogger(__name__)
_START_S = 300.0  # importing torch on a crowded machine
_GRACE_S = 30.0  # between a job's own wall limit and giving its worker up
_TRIES = 2
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
_FIXED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


class LocalExecutor:
    """Warm workers on this machine; a context manager, workers start with the first job and stay until the
    end.

    `preload` names the modules that each worker imports once (what jobs import themselves they pay for each
    time). `scratch` is where the jobs' scratch folders are made (default: a temporary folder). `readable`
    names the files and folders that jobs may read besides the interpreter, the installed packages, asiarc and
    its cache of texts (which jobs cannot write: a corpus is built before the trials that read it).

    First Ctrl-C during `run`: no new job starts, the running ones finish and are delivered, then
    KeyboardInterrupt. Second Ctrl-C: everything ends at once.
    """

    def __init__(
        self,
        workers: int = 2,
        preload: Sequence[str] = ("torch",),
        scratch: Path | None = None,
        readable: Sequence[Path] = (),
    ) -> None:
        assert workers >= 1, "an executor has at least one worker"
        self.workers = workers
        self.preload = tuple(preload)
        self.readable = tuple(str(Path(path).resolve()) for path in readable)
        self._parent = scratch
        self._scratch: Path | None = None
        self._pool: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every worker, whatever it does, and remove the scratch folder; the executor can be used
        again."""
        for worker in list(self._pool):
            self._discard(worker)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def run(self, jobs: Sequence[Job], on_result: OnResult | None = None) -> list[Result]:
        """As `Executor.run`. A job whose worker dies under it is tried once more, then
        ``"infrastructure"``."""
        round_ = _Round(jobs, on_result)
        try:
            with _two_interrupts() as asked:
                while round_.open:
                    if asked.is_set():
                        round_.waiting.clear()
                    self._staff(round_)
                    self._serve(round_)
                if asked.is_set():
                    raise KeyboardInterrupt
        except BaseException:
            if round_.running:  # a job may not outlive the call that asked for it
                self.close()
            raise
        return [result for result in round_.results if result is not None]

    def _staff(self, round_: _Round) -> None:
        """Start workers while some are missing, and give every idle one a job."""
        if round_.failed_starts >= _TRIES:
            round_.give_up(self._pool)
        wanted = min(self.workers, len(round_.waiting) + len(round_.running))
        while len(self._pool) < wanted:
            if self._scratch is None:
                self._scratch = Path(tempfile.mkdtemp(prefix="asiarc-", dir=self._parent)).resolve()
            worker = _Worker(self._scratch, self.preload, self.readable)
            self._selector.register(worker.output, selectors.EVENT_READ, worker)
            self._pool.append(worker)
        for worker in self._pool:
            if worker.idle and round_.waiting:
                index = round_.waiting.popleft()
                round_.running[worker] = index
                worker.start(round_.jobs[index])

    def _serve(self, round_: _Round) -> None:
        """Wait a moment for the workers; deliver what they answer, replace those that died or answer no
        more."""
        for key, _ in self._selector.select(timeout=0.5 if round_.open else 0):
            worker = key.data
            alive = worker.read()
            while (message := worker.message()) is not None:
                if worker in round_.running:
                    index = round_.running.pop(worker)
                    round_.deliver(index, judge(message, round_.jobs[index].limits))
            if not alive:
                self._replace(worker, round_, f"the worker ended: {worker.last_words()}")
        for worker in list(self._pool):
            if worker.overdue:
                self._replace(worker, round_, "the worker did not answer in time")

    def _replace(self, worker: _Worker, round_: _Round, reason: str) -> None:
        self._discard(worker)
        if not worker.ready:
            round_.failed_starts += 1
            round_.last_failure = reason
        if worker in round_.running:
            round_.lost(round_.running.pop(worker), reason)

    def _discard(self, worker: _Worker) -> None:
        self._selector.unregister(worker.output)
        self._pool.remove(worker)
        worker.end()


class _Round:
    """One call of `run`: what waits, what runs where, what is done."""

    def __init__(self, jobs: Sequence[Job], on_result: OnResult | None) -> None:
        self.jobs = jobs
        self.on_result = on_result
        self.waiting = deque(range(len(jobs)))
        self.running: dict[_Worker, int] = {}
        self.results: list[Result | None] = [None] * len(jobs)
        self.tries = [0] * len(jobs)
        self.failed_starts = 0
        self.last_failure = ""

    @property
    def open(self) -> bool:
        return bool(self.waiting or self.running)

    def deliver(self, index: int, result: Result) -> None:
        self.results[index] = result
        if self.on_result is not None:
            self.on_result(index, result)

    def lost(self, index: int, reason: str) -> None:
        """A job's worker is gone through no fault of the job: again at the front of the queue, once."""
        self.tries[index] += 1
        if self.tries[index] < _TRIES:
            self.waiting.appendleft(index)
        else:
            self.deliver(index, Result("infrastructure", reason=f"{reason} (tried {_TRIES} times)"))

    def give_up(self, pool: Sequence[_Worker]) -> None:
        """No worker starts: what waits cannot run, unless a worker lives that can."""
        if any(worker.ready for worker in pool):
            return
        while self.waiting:
            self.deliver(self.waiting.popleft(), Result("infrastructure", reason=self.last_failure))


class _Worker:
    """The driver's end of one zygote: its pipes, and until when it must answer."""

    def __init__(self, scratch: Path, preload: Sequence[str], readable: Sequence[str]) -> None:
        self.ready = False
        self._buffer = bytearray()
        self._log = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        command = [sys.executable, "-P", "-m", "asiarc.execution.zygote", "--scratch", str(scratch)]
        command += ["--preload", *preload, "--readable", *_installation(), _texts(), *readable]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=scratch,
            env=_environment(scratch),
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._input, self.output = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._busy = False
        self._due = time.monotonic() + _START_S

    @property
    def idle(self) -> bool:
        return self.ready and not self._busy

    @property
    def overdue(self) -> bool:
        return (self._busy or not self.ready) and time.monotonic() > self._due

    def start(self, job: Job) -> None:
        request = {"function": job.function, "payload": job.payload, "limits": asdict(job.limits)}
        self._busy = True
        self._due = time.monotonic() + job.limits.wall_s + _GRACE_S
        with contextlib.suppress(BrokenPipeError):  # its end is noticed when it is read
            frames.send(self._input, json.dumps(request, allow_nan=False).encode())

    def read(self) -> bool:
        """Take in what has come; False when the worker has closed its end."""
        chunk = os.read(self.output, 1 << 16)
        self._buffer += chunk
        return bool(chunk)

    def message(self) -> bytes | None:
        """The next complete account, if there is one; the first message of all says that the worker is
        ready."""
        message = frames.take(self._buffer)
        if message is not None and not self.ready:
            self.ready = True
            return self.message()
        if message is not None:
            self._busy = False
        return message

    def last_words(self) -> str:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2000))
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def end(self) -> None:
        """Hang up: the zygote ends its job and itself; SIGKILL if it does not within a second."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


@contextlib.contextmanager
def _two_interrupts() -> Iterator[threading.Event]:
    """Set the event at the first SIGINT and raise KeyboardInterrupt at the second (in the main thread
    only)."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on_interrupt(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        _log.warning("Ctrl-C: the running jobs finish, no new one starts; Ctrl-C again ends them at once")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _environment(scratch: Path) -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed | _FIXED | {"ASIARC_CACHE": _texts(), "HOME": str(scratch), "TMPDIR": str(scratch)}


def _texts() -> str:
    from asiarc.tasks.corpus import cache_folder  # brings numpy: not before a worker starts

    return str(cache_folder().resolve())


def _installation() -> list[str]:
    """The folders that Python code comes from: the interpreter's, the installed packages', asiarc's and its
    kernels'."""
    paths = {*sysconfig.get_paths().values(), *site.getsitepackages(), sys.prefix, sys.base_prefix}
    for name in ("asiarc", "asiarc.kernels"):
        spec = importlib.util.find_spec(name)
        paths |= set(spec.submodule_search_locations or ()) if spec else set()
    return sorted(str(Path(path).resolve()) for path in paths)


# ---------------------------------------------------------------- the verdict on one job


def judge(message: bytes, limits: Limits) -> Result:
    """Turn a supervisor's account into a result: the only reader of what a job sent."""
    line, _, text = message.partition(b"\n")
    account = json.loads(line)
    if "broken" in account:
        return Result("infrastructure", reason=account["broken"])
    status, reason, value = _verdict(account, text, limits)
    if tail := account["tail"].strip():
        reason = f"{reason}; last output: {tail[-500:]}" if status != "ok" else reason
    return Result(
        status,
        value,
        reason,
        account["wall_s"],
        account["cpu_s"],
        account["peak_memory_bytes"],
        tuple(account["held"]),
    )


def _verdict(account: dict[str, Any], text: bytes, limits: Limits) -> tuple[Any, str, dict[str, Any] | None]:
    if account["timed_out"]:
        return "timed_out", f"exceeded {limits.wall_s:g} s of wall time", None
    if (
        account["signal"] in (signal.SIGXCPU, signal.SIGKILL)
        and account["cpu_s"] >= math.ceil(limits.cpu_s) - 0.1
    ):
        return "timed_out", f"exceeded {limits.cpu_s:g} s of CPU time", None
    if account["forged"]:
        return (
            "crashed",
            "forged: something wrote to the result channel that was not the job's own result",
            None,
        )
    if account["too_large"] or len(text) > limits.result_bytes:
        return "crashed", f"the result is larger than {limits.result_bytes} bytes", None
    if account["signal"]:
        name = signal.Signals(account["signal"]).name
        out_of_memory = "bad_alloc" in account["tail"]
        return ("out_of_memory" if out_of_memory else "crashed"), f"ended by {name}", None
    if not account["held"]:
        return "infrastructure", f"the job did not start: {_failure(text)[1] if text else 'no message'}", None
    if account["kind"] == "F":
        out_of_memory, reason = _failure(text)
        return ("out_of_memory" if out_of_memory else "crashed"), reason, None
    if account["kind"] != "V":
        return "crashed", f"ended with exit code {account['code']} and no result", None
    try:
        return "ok", "", _decode(text)
    except (ValueError, RecursionError) as error:
        return "crashed", f"the result is not plain JSON: {error}", None


def _failure(text: bytes) -> tuple[bool, str]:
    try:
        failure = _decode(text)
        return failure["out_of_memory"] is True, str(Failure(**failure))
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        return False, f"an unreadable failure: {error}"


def _decode(text: bytes) -> dict[str, Any]:
    """A JSON object with finite numbers and text that UTF-8 can hold; ValueError or RecursionError
    otherwise."""
    value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    if b"\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number that JSON has")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is out of range")
    return number
