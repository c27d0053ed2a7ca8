"""The process beside the job: starts it, watches its time and its output from outside, ends all that it
started.

It runs as the first process of the job's PID namespace where there is one, so that its end is the end of
everything inside; elsewhere it adopts the job's orphans and ends them one by one. It never decodes what the
job sends.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
import select
import signal
import time
from dataclasses import dataclass, field, replace
from typing import Any

from asiarc.execution import frames, inside
from asiarc.execution.gauge import Gauge
from asiarc.execution.inside import TOKEN_BYTES, Quarters
from asiarc.execution.job import Limits
from asiarc.execution.line import Line
from asiarc.execution.shelf import Keeper

_TAIL_BYTES = 4000
_ROOM_FOR_ERRORS = 64 << 10
_CHUNK = 1 << 16
_ALL_OF_IT = 2  # which clock of a process: what all its threads ran (CPUCLOCK_SCHED)


@dataclass
class _Channels:
    """What has come out of the job so far: its messages, and the end of what it printed."""

    limit: int
    messages: bytearray = field(default_factory=bytearray)
    tail: bytes = b""

    def result(self, chunk: bytes) -> None:
        self.messages += chunk

    def output(self, chunk: bytes) -> None:
        self.tail = (self.tail + chunk)[-_TAIL_BYTES:]

    @property
    def too_large(self) -> bool:
        return len(self.messages) > self.limit + _ROOM_FOR_ERRORS


def supervise(
    function: str,
    payload: dict[str, Any],
    limits: Limits,
    cell: Quarters,
    gauge: Gauge,
    *,
    alone: bool,
    line: Line | None = None,
    keeper: Keeper | None = None,
) -> tuple[dict[str, Any], bytes]:
    """Run one job to its end; the account, and the result's text as the job sent it.

    `alone` says that this process is the first of its PID namespace, and that everything else there is the
    job's. `line` is the job's side of the line to its referee, which this process lets go of. `gauge` is read
    meanwhile. `keeper` keeps the job's checkpoints.
    """
    token = secrets.token_bytes(TOKEN_BYTES)
    result_r, result_w = os.pipe()
    output_r, output_w = os.pipe()
    saved_r, saved_w = os.pipe() if keeper else (-1, -1)
    if keeper and keeper.file:
        cell = replace(cell, readable=(*cell.readable, glob.escape(str(keeper.file))))
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        beside = keeper.checkpoints(saved_w) if keeper else line
        inside.main(function, payload, limits, cell, token, result_w, output_w, beside)
    os.close(result_w)
    os.close(output_w)
    if line:
        line.close()
    channels = _Channels(limits.result_bytes)
    readers = {result_r: channels.result, output_r: channels.output}
    if keeper:
        os.close(saved_w)
        keeper.watch(lambda: (_cpu_s(pid, started), time.monotonic() - started))
        readers[saved_r] = keeper.accept
    timed_out = _watch(pid, readers, channels, started + limits.wall_s, gauge)
    wall_s = time.monotonic() - started
    status, usage = _end(pid, alone)
    for fd, accept in readers.items():
        _drain(fd, accept, channels)
    account = {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
        "timed_out": timed_out,
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_memory_bytes": usage.ru_maxrss * 1024,
        "tail": channels.tail.decode("utf-8", "replace"),
    }
    message, text = _open(channels, token)
    return account | message, text


def _cpu_s(pid: int, started: float) -> float:
    """CPU-seconds of a process, as the kernel counts them; the time since it started, at most, where it has ended."""
    try:
        return time.clock_gettime(~pid << 3 | _ALL_OF_IT)
    except OSError:
        return time.monotonic() - started


def _watch(pid: int, readers: dict[int, Any], channels: _Channels, deadline: float, gauge: Gauge) -> bool:
    """Read until the job's process ends or says too much; True if the deadline came first."""
    ended = os.pidfd_open(pid)
    poller = select.poll()
    for fd in (ended, *readers):
        poller.register(fd, select.POLLIN)
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            gauge.sample()
            for fd, _ in poller.poll(min(left_s, gauge.every_s) * 1000):
                if fd == ended:
                    return False
                if chunk := os.read(fd, _CHUNK):
                    readers[fd](chunk)
                else:
                    poller.unregister(fd)
            if channels.too_large:
                return False
        return True
    finally:
        os.close(ended)


def _end(pid: int, alone: bool) -> Any:
    """SIGKILL to the job and to all that it started; the job's wait status and resource usage."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1 if alone else pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    if not alone:
        end_descendants()
    return status, usage


def end_descendants() -> None:
    """SIGKILL to every descendant of this process, which must adopt orphans, until none is left."""
    import psutil

    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()


def _drain(fd: int, accept: Any, channels: _Channels) -> None:
    """Read what is left in a pipe without waiting for anybody to close it."""
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):
        while (chunk := os.read(fd, _CHUNK)) and not channels.too_large:
            accept(chunk)
    os.close(fd)


def _open(channels: _Channels, token: bytes) -> tuple[dict[str, Any], bytes]:
    """Check the job's messages: a `READY`, then one `VALUE` or `FAILED`, each under the token, nothing
    else."""
    buffer, sent = channels.messages, []
    said: dict[str, Any] = {"kind": "", "held": [], "forged": False, "too_large": channels.too_large}
    while (message := frames.take(buffer)) is not None:
        sent.append(message)
    genuine = [m[TOKEN_BYTES:] for m in sent if m.startswith(token)]
    if genuine and genuine[0].startswith(inside.READY):
        said["held"] = json.loads(genuine.pop(0)[1:])
    said["forged"] = (
        len(genuine) > 1 or len(sent) > len(genuine) + bool(said["held"]) or (bool(buffer) and not said["too_large"])
    )
    if not genuine:
        return said, b""
    said["kind"] = genuine[0][:1].decode("ascii", "replace")
    return said, genuine[0][1:]
