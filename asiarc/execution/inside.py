"""The job's own process: it enters the sandbox, calls the job's function and sends back what came of it.

The job's function and the candidate's code share this process, so code that goes through frames, `gc` or `ctypes` can
find the result channel and its token and send a result of its own making. What decides is therefore never asked of
this process: a judged job's value is its referee's (`job`). Besides, a result without the token (blind writes to every
descriptor) is recorded as a forgery, a result is bounded and checked JSON, names that the candidate rebound in the
modules that matter are found when the job's function returns, and nothing that this process does reaches the harness
in any other way.
"""

from __future__ import annotations

import faulthandler
import glob
import json
import math
import os
import random
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from asiarc.execution import frames, layers
from asiarc.execution.attempt import attempt
from asiarc.execution.job import Limits, resolve
from asiarc.execution.line import Line
from asiarc.execution.seccomp import seccomp
from asiarc.execution.shelf import Checkpoints

TOKEN_BYTES = 16
THREADS = 64
READY, VALUE, FAILED = b"R", b"V", b"F"


Watched = Sequence[tuple[str, Any, Mapping[str, Any]]]


@dataclass(frozen=True)
class Quarters:
    """What the worker gives every job: where it may write and read, which layers hold already, its
    variables."""

    scratch: Path
    readable: tuple[str, ...]  # patterns, as `glob` reads them
    held: tuple[str, ...]
    environment: Mapping[str, str]
    watched: Watched


def main(
    function: str,
    payload: dict[str, Any],
    limits: Limits,
    cell: Quarters,
    token: bytes,
    result_fd: int,
    output_fd: int,
    beside: Line | Checkpoints | None,
) -> NoReturn:
    """Run the job and end the process, whatever happens, without running any exit handler."""
    exit_now, write, encode = os._exit, os.write, json.JSONEncoder(allow_nan=False).encode
    hidden_fd = _only_these_open(result_fd, output_fd, beside.descriptors if beside else ())

    def reply(kind: bytes, text: str) -> None:
        frames.send(hidden_fd, token + kind + text.encode(), write=write)

    def work() -> None:
        held = enter(limits, cell)
        call = resolve(function)
        reply(READY, encode(held))
        value = call(payload, beside) if beside else call(payload)
        if not isinstance(value, dict):
            raise TypeError(f"the job's function returned {type(value).__name__}, not a JSON object")
        text = encode(value)
        check(cell.watched)
        reply(VALUE, text)

    try:
        _, failure = attempt(work)
        if failure is not None:
            attempt(lambda: reply(FAILED, encode(vars(failure))))
    finally:
        exit_now(0)


def enter(limits: Limits, cell: Quarters) -> list[str]:
    """Put every layer that the machine offers around this process; return the names of those that hold."""
    layers.die_with_parent()
    os.setsid()
    os.chdir(cell.scratch)
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(cell.environment, HOME=str(cell.scratch), TMPDIR=str(cell.scratch))
    tempfile.tempdir = None  # the worker may have looked it up
    faulthandler.enable(file=2, all_threads=False)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    held = ["session", "environment", *cell.held]
    readable = [path for pattern in cell.readable for path in glob.glob(pattern)]  # noqa: PTH207 - absolute
    cpu_s, own_user, gpus = math.ceil(limits.cpu_s), "user_namespace" in cell.held, layers.gpu_devices()
    for name, layer in (
        ("rlimits", lambda: layers.limit_resources(cpu_s, limits.memory_bytes, limits.file_bytes, reserves=bool(gpus))),
        ("rlimit_nproc", lambda: layers.limit_processes(THREADS + limits.processes, own_user)),
        ("capabilities", layers.drop_capabilities),
        ("no_new_privs", layers.no_new_privs),
        ("landlock", lambda: layers.landlock(readable, [str(cell.scratch), *gpus])),
        ("seccomp", lambda: seccomp(limits.processes, gpu=bool(gpus))),
    ):
        if layers.holds(layer):
            held.append(name)
    return held


def _only_these_open(result_fd: int, output_fd: int, kept: Sequence[int]) -> int:
    """Standard streams, what is `kept`, and the result channel at a number that nobody can guess; everything else is
    closed."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    target = random.SystemRandom().randrange(100, 250)
    while target in (result_fd, output_fd, *kept):
        target += 1
    os.dup2(result_fd, target, inheritable=False)
    layers.close_all_but(target, *kept)
    return target


# Where a rebound name would change what a trial measures; only what was callable before the job is compared.
_WATCHED = """
    builtins math time json json.encoder os random
    torch torch.nn torch.nn.functional torch.nn.modules.module torch.nn.modules.linear torch.nn.modules.loss
    torch.autograd torch.optim torch.optim.adamw torch.optim.optimizer torch.random torch.serialization
    torch.nn.utils.clip_grad
    json:JSONEncoder torch:Tensor torch.nn:Module torch.nn:Linear torch.optim:AdamW torch.optim:Optimizer
"""
_REBOUND_BY_TORCH = {"torch.manual_seed"}  # when torch._dynamo is imported, which the first optimiser does


def watch() -> Watched:
    """The callables of the watched modules and classes (``module:class``) as they are now."""
    places = []
    for label in _WATCHED.split():
        module, _, name = label.partition(":")
        if place := sys.modules.get(module):
            places.append((label, getattr(place, name) if name else place))
    return [(label, place, {k: v for k, v in vars(place).items() if callable(v)}) for label, place in places]


def check(watched: Watched) -> None:
    """Raise `PermissionError` if a watched name, or a watched module, is no longer what it was."""
    for label, place, before in watched:
        module, _, name = label.partition(":")
        if not name and sys.modules.get(module) is not place:
            raise PermissionError(f"the candidate replaced the module {label}")
        now = vars(place)
        for key, value in before.items():
            path = f"{module}.{name}.{key}" if name else f"{module}.{key}"
            if now.get(key) is not value and path not in _REBOUND_BY_TORCH:
                raise PermissionError(f"the candidate replaced {path}")
