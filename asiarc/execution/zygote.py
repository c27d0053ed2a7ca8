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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asiarc.execution import frames, inside, layers
from asiarc.execution.attempt import attempt
from asiarc.execution.inside import Quarters
from asiarc.execution.job import Limits
from asiarc.execution.removal import remove_tree
from asiarc.execution.supervisor import end_descendants, supervise


@dataclass(frozen=True)
class _Bench:
    """What every job of this worker gets: a place for scratch folders, what it may read, and so on."""

    scratch: Path
    readable: tuple[str, ...]
    namespaces: tuple[str, ...]
    environment: Mapping[str, str]
    watched: inside.Watched
    group: str


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
    buffer = bytearray()
    while (request := _next_request(requests, buffer)) is not None:
        reply = _run(json.loads(request), bench, requests)
        end_descendants()
        layers.holds(lambda: layers.remove_group(bench.group))
        if reply is None:
            break
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
    pid = layers.fork_into(bench.namespaces)
    if pid == 0:
        _, failure = attempt(lambda: _supervise(request, bench, scratch, account_w))
        if failure is not None:
            os.write(2, f"{failure}\n".encode())
        os._exit(1 if failure else 0)
    os.close(account_w)
    account = _collect(account_r, driver)
    os.close(account_r)
    if account is None:
        return None
    _, status = os.waitpid(pid, 0)
    remove_tree(scratch)
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


def _supervise(request: dict[str, Any], bench: _Bench, scratch: Path, account_fd: int) -> None:
    """In the supervisor's process: prepare the job's place, see it through, write the account."""
    os.closerange(3, account_fd)
    os.closerange(account_fd + 1, 4096)
    layers.die_with_parent()
    layers.adopt_orphans()
    limits, held = Limits(**request["limits"]), list(bench.namespaces)
    alone = "pid_namespace" in held
    if layers.holds(lambda: layers.enter_group(bench.group, inside.THREADS + limits.processes)):
        held.append("cgroup")
    if "mount_namespace" in held and not layers.holds(lambda: layers.seal_mounts(scratch, limits.file_bytes)):
        held.remove("mount_namespace")
    if alone and "mount_namespace" in held and layers.holds(layers.private_proc):
        held.append("private_proc")
    cell = Quarters(scratch, bench.readable, tuple(held), bench.environment, bench.watched)
    account = memoryview(supervise(request["function"], request["payload"], limits, cell, alone))
    while account:
        account = account[os.write(account_fd, account) :]


if __name__ == "__main__":
    main()
    os._exit(0)  # taking torch down in good order costs a second and changes nothing
