"""A warm worker: imports what jobs need once, then forks for every job (``python -m
asiarc.execution.zygote``).

It reads requests from its standard input and writes accounts to its standard output (`frames`), one job at a
time, and ends with everything below it when the input closes. No tensor operation ever runs here: threads
that one would start do not survive a fork. It never touches what a job sends, so a job cannot hurt it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import select
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asiarc.execution import frames, inside, layers
from asiarc.execution.attempt import attempt
from asiarc.execution.gauge import Gauge, gauge_for
from asiarc.execution.inside import VALUE, Quarters
from asiarc.execution.job import KEPT, Limits, resolve
from asiarc.execution.line import Line, LineError
from asiarc.execution.removal import remove_tree
from asiarc.execution.shelf import Keeper, Saved, Shelf, not_kept
from asiarc.execution.supervisor import end_descendants, supervise

_LARGEST_REQUEST = 1 << 30
_SILENT = b'{"value": null, "failure": "it ended without a verdict", "cpu_s": 0}'


@dataclass(frozen=True)
class _Bench:
    """What every job of this worker gets: a place for scratch folders, what it may read, and so on."""

    scratch: Path
    readable: tuple[str, ...]
    namespaces: tuple[str, ...]
    environment: Mapping[str, str]
    watched: inside.Watched
    group: str


@dataclass(frozen=True)
class _Opened:
    """A job's shelf, opened where it can still be written: the supervisor's own mounts are read-only."""

    shelf: Shelf | None = None
    descriptors: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: dict[str, Any] | None) -> _Opened:
        if asked is None:
            return cls()
        shelf = Shelf(**asked)
        try:
            return cls(shelf, (shelf.opened(),))
        except OSError as error:
            return cls(notes=(not_kept(error),))

    def kept(self) -> Keeper | None:
        return Keeper(self.shelf, *self.descriptors) if self.shelf else None


def main() -> None:
    """Serve until the driver goes away."""
    options = _options()
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    environment, namespaces = dict(os.environ), layers.offered_namespaces()
    layers.adopt_orphans()
    _preload(options.preload)
    readable, group = tuple(options.readable), f"asiarc-{os.getpid()}"
    bench = _Bench(options.scratch, readable, namespaces, environment, inside.watch(), group)
    with contextlib.suppress(BrokenPipeError):  # the driver is gone, and nobody waits for this
        _serve(requests, replies, bench)
    remove_tree(options.scratch)  # a driver that was killed cannot


def _serve(requests: int, replies: int, bench: _Bench) -> None:
    """Jobs one by one, until the driver hangs up."""
    frames.send(replies, b"ready")
    with contextlib.suppress(EOFError):
        while True:
            request = json.loads(frames.receive(requests, _LARGEST_REQUEST))
            reply = _run(request, bench, requests)
            end_descendants()
            layers.holds(lambda: layers.remove_group(bench.group))
            if reply is None:
                return
            frames.send(replies, reply)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m asiarc.execution.zygote")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--preload", nargs="*", default=[])
    parser.add_argument("--readable", nargs="*", default=[])
    return parser.parse_args()


def _preload(names: Sequence[str]) -> None:
    for name in names:
        importlib.import_module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    gc.collect()
    gc.freeze()  # what is loaded now stays out of the jobs' collections, and so shared with them


def _run(request: dict[str, Any], bench: _Bench, driver: int) -> bytes | None:
    """One job in a process of its own: a line with its referee's verdict (`null` without one), then its account; None
    when the driver went away meanwhile."""
    scratch = Path(tempfile.mkdtemp(prefix="job-", dir=bench.scratch))
    ours, theirs = Line.pair() if request["then"] else (None, None)
    account_r, account_w = os.pipe()
    verdict_r, verdict_w = os.pipe()
    shelf = _Opened.of(request["shelf"])
    if ours:
        _beside(request["referee"], driver, ours, verdict_w)
    pid = layers.fork_into(bench.namespaces)
    if pid == 0:
        _, failure = attempt(lambda: _supervise(request, bench, scratch, account_w, theirs, shelf))
        if failure is not None:
            os.write(2, f"{failure}\n".encode())
        os._exit(1 if failure else 0)
    for fd in (account_w, verdict_w, *shelf.descriptors):
        os.close(fd)
    for line in filter(None, (ours, theirs)):
        line.close()
    account, verdict = _collect(account_r, driver), _collect(verdict_r, driver)
    os.close(account_r)
    os.close(verdict_r)
    if account is None or verdict is None:
        return None
    _, status = os.waitpid(pid, 0)
    remove_tree(scratch)
    if status != 0 or not account:
        account = json.dumps({"broken": f"the supervisor ended with wait status {status}"}).encode() + b"\n"
    return (verdict or (_SILENT if ours else b"null")) + b"\n" + account


def _beside(function: str, driver: int, line: Line, verdict_fd: int) -> None:
    """Start the referee's process, which alone reads the secret: it comes next from the driver."""
    if os.fork():
        return
    layers.die_with_parent()
    layers.close_all_but(driver, line.reads, line.writes, verdict_fd)
    value, failure = attempt(lambda: _referee(function, json.loads(frames.receive(driver, _LARGEST_REQUEST)), line))
    verdict = {"value": value, "failure": str(failure or ""), "cpu_s": time.process_time()}
    frames.write_all(verdict_fd, json.dumps(verdict).encode())
    os._exit(0)


def _referee(function: str, secret: dict[str, Any], line: Line) -> Any:
    """What the referee says; None where the job hung up, whose account then says why."""
    with contextlib.suppress(LineError):
        return resolve(function)(secret, line)
    return None


def _collect(fd: int, driver: int) -> bytes | None:
    """Everything that is written to a pipe; None as soon as the driver hangs up."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    poller.register(driver, 0)  # POLLHUP alone
    account = bytearray()
    while True:
        events = dict(poller.poll())
        if driver in events:
            return None
        chunk = os.read(fd, 1 << 16)
        if not chunk:
            return bytes(account)
        account += chunk


def _supervise(
    request: dict[str, Any], bench: _Bench, scratch: Path, account_fd: int, line: Line | None, shelf: _Opened
) -> None:
    """In the supervisor's process: prepare the job's place, see it through, write the account."""
    layers.close_all_but(account_fd, *(line.descriptors if line else ()), *shelf.descriptors)
    layers.die_with_parent()
    layers.adopt_orphans()
    limits, held = Limits(**request["limits"]), list(bench.namespaces)
    gauge = gauge_for(request["payload"].get("device"))
    alone = "pid_namespace" in held
    if layers.holds(lambda: layers.enter_group(bench.group, inside.THREADS + limits.processes)):
        held.append("cgroup")
    if "mount_namespace" in held and not layers.holds(lambda: layers.seal_mounts(scratch, limits.file_bytes)):
        held.remove("mount_namespace")
    if alone and "mount_namespace" in held and layers.holds(layers.private_proc):
        held.append("private_proc")
    cell = Quarters(scratch, bench.readable, tuple(held), bench.environment, bench.watched)
    keeper = shelf.kept()
    account, text = _see_through(request, limits, cell, gauge, alone, line, keeper)
    account |= gauge.spent(account["cpu_s"])
    account["notes"] = [*shelf.notes, *(keeper.notes if keeper else ())]
    frames.write_all(account_fd, json.dumps(account).encode() + b"\n" + text)


def _see_through(
    request: dict[str, Any],
    limits: Limits,
    cell: Quarters,
    gauge: Gauge,
    alone: bool,
    line: Line | None,
    keeper: Keeper | None,
) -> tuple[dict[str, Any], bytes]:
    """The job's process, and for a judged job the second one, to which the file that the first kept is handed on."""
    if line is None:
        return _first(request, limits, cell, gauge, alone, keeper)
    first, second = (replace(cell, scratch=cell.scratch / name) for name in ("first", "second"))
    for each in (first, second):
        each.scratch.mkdir(mode=0o700)
    account, text = _first(request, limits, first, gauge, alone, keeper)
    if account["kind"] != VALUE.decode() or account["forged"] or not (first.scratch / KEPT).is_file():
        line.close()
        return account, text
    (first.scratch / KEPT).rename(second.scratch / KEPT)
    left = _left(limits, account["wall_s"], account["cpu_s"])
    final, text = supervise(request["then"], request["payload"], left, second, gauge, alone=alone, line=line)
    for spent in ("wall_s", "cpu_s"):
        final[f"parts_{spent}"] = [account[spent], final[spent]]
        final[spent] += account[spent]
    final["peak_memory_bytes"] = max(final["peak_memory_bytes"], account["peak_memory_bytes"])
    return final, text


def _first(
    request: dict[str, Any], limits: Limits, cell: Quarters, gauge: Gauge, alone: bool, keeper: Keeper | None
) -> tuple[dict[str, Any], bytes]:
    """The job's first process; where it goes on from a checkpoint, what that took is spent already."""
    spent = keeper.offered if keeper else Saved()
    left = _left(limits, spent.wall_s, spent.cpu_s)
    account, text = supervise(request["function"], request["payload"], left, cell, gauge, alone=alone, keeper=keeper)
    account["wall_s"] += spent.wall_s
    account["cpu_s"] += spent.cpu_s
    return account, text


def _left(limits: Limits, wall_s: float, cpu_s: float) -> Limits:
    """What is left of the limits on time: at least a moment, in which they are exceeded."""
    return replace(limits, wall_s=max(0.1, limits.wall_s - wall_s), cpu_s=max(1.0, limits.cpu_s - cpu_s))


if __name__ == "__main__":
    main()
    os._exit(0)  # taking torch down in good order costs a second and changes nothing
