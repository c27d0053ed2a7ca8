"""The child process that runs what is timed, and its parent's handle on it.

A worker loads the operators of one source tree, or one kernel file, and does as it is told over a pipe (JSON,
tensors as raw bytes; nothing is unpickled on the way back). The clock is the parent's: from "go" to the answer, and
the worker's CPU time as the kernel of the operating system counts it.

Unusual: only `asiarc.kernels` (and what it imports) comes from the given tree; the measuring code is this one on
both sides of a comparison, and `loaded_from` proves which files ran.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
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
        [(name, str(x.dtype).removeprefix("torch."), list(x.shape)) for name, x in group.items()]
        for group in tensors
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
            flat = (
                torch.frombuffer(data, dtype=torch.uint8).view(wanted)
                if data
                else torch.empty(0, dtype=wanted)
            )
            group[name] = flat.view(shape)
        groups.append(group)
    return message, groups


def load_tree(tree: Path) -> None:
    """Makes `asiarc` and `asiarc.kernels` those of a checkout; this package stays."""
    mine = __name__.rpartition(".")[0]
    for name in [n for n in sys.modules if n.split(".")[0] == "asiarc" and not n.startswith(mine)]:
        del sys.modules[name]
    for name, folder in (("asiarc", tree / "asiarc"), ("asiarc.kernels", tree / "kernels")):
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None or not (folder / "__init__.py").exists():
            raise FileNotFoundError(f"no {folder.name}/__init__.py in {tree}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def loaded_from() -> list[str]:
    """The files of every loaded module of asiarc but the measuring ones."""
    mine = __name__.rpartition(".")[0]
    return sorted(
        str(module.__file__)
        for name, module in sys.modules.items()
        if name.split(".")[0] == "asiarc" and not name.startswith(mine) and module.__file__
    )


class TreeSide:
    """What a worker can be asked of a source tree."""

    def __init__(self) -> None:
        self.sets: list[tuple[Any, ...]] = []
        self.turn = 0

    def load(self, tree: str) -> dict[str, Any]:
        """Loads the operators of a checkout."""
        import torch

        torch.set_num_threads(1)
        importlib.import_module("asiarc.speed.cases")  # with this tree's table of operators
        load_tree(Path(tree))
        return {}

    def prepare(self, case: dict[str, Any], sets: int) -> dict[str, Any]:
        """Makes input sets to rotate through and runs the operator; says how wrong it is and what was loaded."""
        from asiarc.speed.cases import Case, error_of, exact, outcome

        made = [Case(**{**case, "seed": case["seed"] + i}) for i in range(sets)]
        call = made[0].op.call
        self.sets = [(call, c.inputs(), c.upstream()) for c in made]
        self.turn = 0
        actual, expected = outcome(*self.sets[0]), exact(made[0], self.sets[0][1])
        gc.collect()
        gc.freeze()
        return {"errors": error_of(actual, expected), "files": loaded_from()}

    def go(self, calls: int, slower: float = 0.0) -> dict[str, Any]:
        """Runs forward and backward `calls` times; then keeps busy for `slower` times as long, for the self-test."""
        from asiarc.speed.cases import outcome

        start = time.perf_counter()
        for _ in range(calls):
            outcome(*self.sets[self.turn % len(self.sets)])
            self.turn += 1
        end = start + (time.perf_counter() - start) * (1 + slower)
        while time.perf_counter() < end:
            pass
        return {}


def serve_tree(connection: Connection) -> None:
    """The child's main loop for a source tree."""
    serve(connection, TreeSide())


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

    def __init__(self, *, method: str = "spawn", target: Any = serve_tree) -> None:
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(["torch", target.__module__])
        self.connection, other = context.Pipe()
        self.process = context.Process(target=target, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.pid: int = self.process.pid

    def exchange(
        self, do: str, tensors: Sequence[Tensors] = (), **arguments: Any
    ) -> tuple[Any, list[Tensors]]:
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


def wrong(errors: Mapping[str, float], most: float) -> str:
    """The tensors whose error is above `most` (or not a number), as text; empty when all are right."""
    bad = {name: e for name, e in errors.items() if not (math.isfinite(e) and e <= most)}
    return ", ".join(f"{name} {e:.1e}" for name, e in bad.items())


def tree_worker(tree: Path, core: int | None = None) -> Worker:
    """A worker that has loaded a tree and then stays on a core; raises `WorkerError` where it cannot be loaded."""
    worker = Worker()
    try:
        worker.ask("load", tree=str(tree))
    except WorkerError:
        worker.close()
        raise
    if core is not None:
        os.sched_setaffinity(worker.pid, {core})
    return worker
