"""`LocalExecutor`: jobs on this machine, over a pool of warm workers (`zygote.py`), each in the sandbox.

The driver never imports torch and never runs a candidate. It decodes what a job sent only after the
supervisor has bounded its size, in `judge` alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import importlib.util
import os
import selectors
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from asiarc.core.errors import ExecutionError
from asiarc.execution import frames
from asiarc.execution.job import Job
from asiarc.execution.judge import judge
from asiarc.execution.removal import remove_tree
from asiarc.execution.round import Round, Warm

_START_S = 300.0  # importing torch on a crowded machine
_PREFIX = "asiarc-worker-"  # of a worker's scratch folder, which its harness keeps locked
_FORMING_S = 1.0  # a folder younger than this may not be locked yet
_GRACE_S = 30.0  # between a job's own time limit and giving its worker up
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
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # large pages: a fork of a worker with torch costs half
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


class LocalExecutor(Warm):
    """Warm workers on this machine, with the promises of `Warm`.

    `preload` names the modules that each worker imports once (what jobs import themselves they pay for each
    time). `scratch` is where the jobs' scratch folders are made (default: a temporary folder). `readable`
    names the files and folders that jobs may read besides the interpreter, the installed packages, asiarc and
    the training texts of its cache (a corpus is built before the trials that read it).

    Raises `ExecutionError` on another system than Linux; any Linux will do, `doctor` says what it holds.
    """

    def __init__(
        self,
        workers: int = 2,
        preload: Sequence[str] = ("torch",),
        scratch: Path | None = None,
        readable: Sequence[Path] = (),
    ) -> None:
        assert workers >= 1, "an executor has at least one worker"
        if sys.platform != "linux":
            raise ExecutionError(f"the sandbox is made of Linux's parts, and this is {sys.platform}: use a container")
        self.workers = workers
        self.preload = tuple(preload)
        self.readable = tuple(str(Path(path).resolve()) for path in readable)
        self._scratch = scratch
        self._pool: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    @property
    def most_workers(self) -> int:
        """As asked."""
        return self.workers

    def close(self) -> None:
        """End every worker, whatever it does; the executor can be used again."""
        for worker in self._pool:
            worker.hang_up()
        for worker in list(self._pool):
            self._discard(worker)

    def _staffing(self) -> tuple[int, int]:
        ready = sum(worker.ready for worker in self._pool)
        return ready, len(self._pool) - ready

    def _start_worker(self) -> None:
        if not self._pool:
            _sweep(self._scratch)
        taken = {worker.seat for worker in self._pool}
        seat = next(seat for seat in count() if seat not in taken)
        worker = _Worker(self._scratch, self.preload, self.readable, seat, gpus_of(seat, self.workers))
        self._selector.register(worker.output, selectors.EVENT_READ, worker)
        self._pool.append(worker)

    def _idle_worker(self) -> _Worker | None:
        return next((worker for worker in self._pool if worker.idle), None)

    def _give(self, worker: _Worker, job: Job) -> _Worker:
        worker.start(job)
        return worker

    def _serve(self, round_: Round) -> None:
        """As `Warm._serve`; a worker that does not answer in time is ended and counts as lost."""
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

    def _replace(self, worker: _Worker, round_: Round, reason: str) -> None:
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


class _Worker:
    """The driver's end of one zygote: its pipes, and until when it must answer."""

    def __init__(
        self, parent: Path | None, preload: Sequence[str], readable: Sequence[str], seat: int, gpus: str | None
    ) -> None:
        self.seat = seat
        self._scratch = scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)).resolve()
        self._lock = os.open(scratch, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.ready = False
        self._buffer = bytearray()
        self._log = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        command = [sys.executable, "-P", "-m", "asiarc.execution.zygote", "--scratch", str(scratch)]
        command += [
            "--preload",
            *preload,
            "--readable",
            *map(glob.escape, (*_installation(), *readable)),
            *_training_texts(),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=scratch,
            env=_environment(scratch) | ({} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}),
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
        parts = job.parts()
        self._busy = True
        self._due = time.monotonic() + job.limits.wall_s + _GRACE_S
        with contextlib.suppress(BrokenPipeError):  # its end is noticed when it is read
            for part in parts if job.referee else parts[:1]:
                frames.send(self._input, part)

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

    def hang_up(self) -> None:
        """Close the input, upon which the zygote ends its job and itself."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """Wait for the zygote's end; SIGKILL if it does not come within a second."""
        self.hang_up()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        self._log.close()
        remove_tree(self._scratch)
        os.close(self._lock)


def _sweep(parent: Path | None) -> None:
    """Remove our scratch folders that nobody holds: a harness that was killed before its worker lived left them."""
    for folder in Path(parent or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another's, no folder, or gone meanwhile
            found = folder.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _FORMING_S:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)
            finally:
                os.close(held)


def gpus_of(seat: int, workers: int) -> str | None:
    """The GPUs of one worker, as ``CUDA_VISIBLE_DEVICES`` names them: an even share of those that this process sees,
    one at least; None where it sees none or is to see none."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    here = sorted(Path("/dev").glob("nvidia[0-9]*"), key=lambda path: int(path.name.removeprefix("nvidia")))
    gpus = named.split(",") if named is not None else [path.name.removeprefix("nvidia") for path in here]
    if not any(gpus) or "-1" in gpus:
        return None
    return ",".join(gpus[seat::workers] or [gpus[seat % len(gpus)]])


def _environment(scratch: Path) -> dict[str, str]:
    named = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    named |= {"ASIARC_CACHE": _texts(), "HOME": str(scratch), "TMPDIR": str(scratch)}
    if "PYTHONPATH" in named:  # a worker's current folder is another
        folders = named["PYTHONPATH"].split(os.pathsep)
        named["PYTHONPATH"] = os.pathsep.join(str(Path(folder).resolve()) for folder in folders if folder)
    if site.ENABLE_USER_SITE:
        named["PYTHONUSERBASE"] = site.getuserbase()  # else looked for in HOME
    return named | _FIXED


def _training_texts() -> list[str]:
    """The files of the cache that jobs may read, as patterns: what is held out is none of them."""
    names = (
        "corpora/*/train.txt", "corpora/*/index.json", "own/*/open.json", "tokenizers/*/*", "tokens/*/index.json",
        "tokens/*/*/index.json", "tokens/*/*/train.*",
    )  # fmt: skip
    return [f"{glob.escape(_texts())}/{name}" for name in names]


def _texts() -> str:
    from asiarc.tasks.keep import cache_folder

    return str(cache_folder().resolve())


def _installation() -> list[str]:
    """The folders that Python code comes from: the interpreter's, the installed packages', asiarc's and its
    kernels'."""
    paths = {*sysconfig.get_paths().values(), *site.getsitepackages(), sys.prefix, sys.base_prefix}
    if site.ENABLE_USER_SITE:
        paths.add(site.getusersitepackages())
    for name in ("asiarc", "asiarc.kernels"):
        spec = importlib.util.find_spec(name)
        paths |= set(spec.submodule_search_locations or ()) if spec else set()
    return sorted(str(Path(path).resolve()) for path in paths)
