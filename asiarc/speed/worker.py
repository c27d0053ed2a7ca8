"""The child process that runs what is timed, and its parent's handle on it.

A worker does as it is told over a pipe (JSON, tensors as raw bytes; nothing is unpickled on the way back). The clock is
the parent's: from "go" to the answer, and the worker's CPU time as the kernel of the operating system counts it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from asiarc.execution.attempt import attempt
from asiarc.speed.machine import cpu_clock

if TYPE_CHECKING:
    from torch import Tensor

    from asiarc.speed.cases import Tensors

ANSWER_S = 240.0
"""Seconds after which a silent worker is ended."""


class WorkerError(Exception):
    """The worker raised, went silent or died; the message says which."""


def raw(x: Tensor) -> bytes:
    """The bytes of a tensor's values in order."""
    import torch

    return bytes(x.detach().contiguous().flatten().view(torch.uint8).numpy())


def send(connection: Connection, message: Mapping[str, Any], tensors: Sequence[Tensors] = ()) -> None:
    """One message, then the bytes of its tensors."""
    specs = [
        [(name, str(x.dtype).removeprefix("torch."), list(x.shape)) for name, x in group.items()] for group in tensors
    ]
    connection.send_bytes(json.dumps({**message, "tensors": specs}).encode())
    for group in tensors:
        for x in group.values():
            connection.send_bytes(raw(x))


def receive(connection: Connection) -> tuple[dict[str, Any], list[Tensors]]:
    """What `send` sent."""
    import torch

    message: dict[str, Any] = json.loads(connection.recv_bytes())
    groups = []
    for specs in message.pop("tensors"):
        group = {}
        for name, dtype, shape in specs:
            data = bytearray(connection.recv_bytes())
            wanted = getattr(torch, dtype)
            flat = torch.frombuffer(data, dtype=torch.uint8).view(wanted) if data else torch.empty(0, dtype=wanted)
            group[name] = flat.view(shape)
        groups.append(group)
    return message, groups


def serve(connection: Connection, side: object) -> None:
    """Answers requests until the parent hangs up; what is raised goes back as text."""
    while True:
        try:
            request, tensors = receive(connection)
        except (EOFError, OSError):
            return
        arguments: dict[str, Any] = request["arguments"]
        if tensors:
            arguments["tensors"] = tensors
        answer, failure = attempt(partial(getattr(side, request["do"]), **arguments))
        if failure is not None:
            answer = {"raised": f"{failure.type}: {failure.message}"[:2000]}
        groups = answer.pop("tensors", ())
        send(connection, answer, groups)


class Worker:
    """A child process; `ask` is a question to it, `slice_s` one timed slice."""

    def __init__(self, target: Any, *, method: str = "spawn") -> None:
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            # The compiler's settings are what torch imports when it is first asked for deterministic algorithms: 3 s.
            context.set_forkserver_preload(["torch", "torch._inductor.config", target.__module__])
        self.connection, other = context.Pipe()
        self.process = context.Process(target=target, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.pid: int = self.process.pid

    def exchange(self, do: str, tensors: Sequence[Tensors] = (), **arguments: Any) -> tuple[Any, list[Tensors]]:
        """Sends a request and waits for the answer with its tensors."""
        try:
            send(self.connection, {"do": do, "arguments": arguments}, tensors)
            if not self.connection.poll(ANSWER_S):
                raise WorkerError(f"silent for {ANSWER_S:.0f} s in {do}")
            answer, groups = receive(self.connection)
        except (EOFError, OSError) as error:
            raise WorkerError(f"died in {do}") from error
        if "raised" in answer:
            raise WorkerError(answer["raised"])
        return answer, groups

    def ask(self, do: str, **arguments: Any) -> Any:
        """A question without tensors."""
        return self.exchange(do, **arguments)[0]

    def slice_s(self, calls: int, slower: float = 0.0) -> float:
        """Wall seconds of `calls` calls, by this process's clock."""
        start = time.perf_counter()
        self.ask("go", calls=calls, slower=slower)
        return time.perf_counter() - start

    def cpu_s(self) -> float:
        """CPU-seconds that the child has used."""
        return cpu_clock(self.pid)

    def close(self) -> None:
        """Hangs up; ends a child that does not go."""
        self.connection.close()
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def loaded_worker(target: Any, core: int | None, **what: Any) -> Worker:
    """A worker that has loaded `what` and then stays on a core; raises `WorkerError` where it cannot be loaded."""
    worker = Worker(target)
    try:
        worker.ask("load", **what)
    except WorkerError:
        worker.close()
        raise
    if core is not None:
        os.sched_setaffinity(worker.pid, {core})
    return worker
