"""A warm worker: imports what jobs need once, then forks for every job (``python -m
asiarc.execution.zygote``).

It reads requests from its standard input and writes accounts to its standard output (`frames`), one job at a
time, and ends with everything below it when the input closes. No tensor operation ever runs here: threads
that one would start do not survive a fork. It never touches what a job sends, so a job cannot hurt it.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import select
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from asiarc.execution import frames, layers
from asiarc.execution.attempt import attempt
from asiarc.execution.inside import Cell
from asiarc.execution.job import Limits
from asiarc.execution.supervisor import end_descendants, supervise


@dataclass(frozen=True)
class _Bench:
    """What every job of this worker gets: where scratch folders go, what it may read, namespaces,
    variables."""

    scratch: Path
    readable: Sequence[str]
    namespaces: tuple[str, ...]
    environment: Mapping[str, str]


def main() -> None:
    """Serve until the driver goes away."""
    options = _options()
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    bench = _Bench(options.scratch, options.readable, layers.offered_namespaces(), dict(os.environ))
    layers.adopt_orphans()
    _preload(options.preload)
    frames.send(replies, b"ready")
    buffer = bytearray()
    while (request := _next_request(requests, buffer)) is not None:
        reply = _run(json.loads(request), bench, requests)
        end_descendants()
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


def _next_request(fd: int, buffer: bytearray) -> bytes | None:
    while (message := frames.take(buffer)) is None:
        chunk = os.read(fd, 1 << 16)
        if not chunk:
            return None
        buffer += chunk
    return message


def _run(request: dict[str, Any], bench: _Bench, driver: int) -> bytes | None:
    """One job in a process of its own; None when the driver went away meanwhile."""
    scratch = Path(tempfile.mkdtemp(prefix="job-", dir=bench.scratch))
    account_r, account_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        _supervisor(request, bench, scratch, account_w)
    os.close(account_w)
    account = _collect(account_r, driver)
    os.close(account_r)
    if account is None:
        return None
    _, status = os.waitpid(pid, 0)
    shutil.rmtree(scratch, ignore_errors=True)
    if status == 0 and account:
        return account
    return json.dumps({"broken": f"the supervisor ended with wait status {status}"}).encode() + b"\n"


def _collect(fd: int, driver: int) -> bytes | None:
    """Everything that the supervisor writes; None as soon as the driver hangs up."""
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


def _supervisor(request: dict[str, Any], bench: _Bench, scratch: Path, account_fd: int) -> NoReturn:
    """In a child: supervise the job inside its namespaces and write the account; always ends the process."""
    _, failure = attempt(lambda: _inside_namespaces(request, bench, scratch, account_fd))
    if failure is not None:
        os.write(2, f"{failure}\n".encode())
    os._exit(1 if failure else 0)


def _inside_namespaces(request: dict[str, Any], bench: _Bench, scratch: Path, account_fd: int) -> None:
    os.closerange(3, account_fd)
    os.closerange(account_fd + 1, 4096)
    layers.unshare(bench.namespaces)
    layers.die_with_parent()
    layers.adopt_orphans()
    if "pid_namespace" in bench.namespaces:  # holds for children only: the first one supervises
        first = os.fork()
        if first:
            status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
            assert status == 0, f"the first process of the job's PID namespace ended with {status}"
            return
        layers.die_with_parent()
    _account(request, bench, scratch, account_fd)


def _account(request: dict[str, Any], bench: _Bench, scratch: Path, account_fd: int) -> None:
    limits, namespaces = Limits(**request["limits"]), bench.namespaces
    held = [name for name in namespaces if name != "mount_namespace"]
    sealed = "mount_namespace" in namespaces
    if sealed and layers.holds(lambda: layers.seal_mounts(scratch, limits.file_bytes)):
        held.append("mount_namespace")
    alone = "pid_namespace" in namespaces
    if alone and "mount_namespace" in held and layers.holds(layers.private_proc):
        held.append("private_proc")
    cell = Cell(scratch, tuple(bench.readable), tuple(held), bench.environment)
    account = memoryview(supervise(request["function"], request["payload"], limits, cell, alone))
    while account:
        account = account[os.write(account_fd, account) :]


if __name__ == "__main__":
    main()
