"""`RayExecutor`: the same jobs on a Ray cluster, each behind the wall of the node that runs it.

One actor per worker holds a `LocalExecutor` with a single warm worker; jobs and results travel as JSON text. The
driver alone owns the archive, as with the local executor, and results do not depend on which node gave them. Nodes
must have the driver's versions: an actor that has others refuses. Needs the extra ``ray``.

A cluster: ``ray start --head`` on one machine, ``ray start --address=HEAD:6379`` on the others, each with the same
installation, then ``RayExecutor(address="HEAD:6379")`` on the head.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asiarc.errors import ExecutionError
from asiarc.execution.job import Job, Limits, OnResult, Result
from asiarc.execution.local import LocalExecutor
from asiarc.execution.round import TRIES, Round, two_interrupts

try:
    import ray
except ModuleNotFoundError as error:
    raise ExecutionError("Ray is not installed: pip install 'asiarc[ray]', or run on this machine") from error


def versions() -> dict[str, str]:
    """What must be equal on every node for a result not to depend on the node."""
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in ("asiarc", "torch")}}


class _Node:
    """The far end: one warm worker behind its node's wall."""

    def __init__(self, preload: Sequence[str], readable: Sequence[str]) -> None:
        self._executor = LocalExecutor(1, preload, readable=[Path(path) for path in readable])

    def refuses(self, expected: dict[str, str]) -> str:
        """Why this node must not be used; empty where it may."""
        here = versions()
        wrong = [
            f"{name} {here[name]} instead of {expected[name]}"
            for name in here
            if here[name] != expected[name]
        ]
        return (
            f"{platform.node()} has {', '.join(wrong)}: install the driver's versions there" if wrong else ""
        )

    def run(self, text: str) -> str:
        request = json.loads(text)
        job = Job(**request | {"limits": Limits(**request["limits"])})
        return json.dumps(asdict(self._executor.run([job])[0]))


class RayExecutor:
    """Workers on a Ray cluster; a context manager with the promises of `LocalExecutor`.

    `address` is the cluster's (None: the one this process belongs to, or a new one on this machine); `workers`
    defaults to the cluster's CPUs, or GPUs where `gpus_per_job` is not 0. A job whose node is lost runs once more.
    Raises `ExecutionError` when the cluster cannot be reached or has no room for a single job.
    """

    def __init__(
        self,
        workers: int | None = None,
        preload: Sequence[str] = ("torch",),
        readable: Sequence[Path] = (),
        *,
        address: str | None = None,
        gpus_per_job: float = 0,
    ) -> None:
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, include_dashboard=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ExecutionError(
                    f"no Ray cluster at {address!r}: {error}. Start one with: ray start --head"
                ) from error
        self._workers, self._gpus = workers, gpus_per_job
        self._arguments = (tuple(preload), tuple(str(path) for path in readable))
        self._starting: dict[Any, Any] = {}  # the future of its first answer -> actor
        self._busy: dict[Any, Any] = {}  # the future of its result -> actor
        self._idle: list[Any] = []

    @property
    def workers(self) -> int:
        """How many jobs run at once: as asked, or as many as the cluster has room for now."""
        kind, each = ("GPU", self._gpus) if self._gpus else ("CPU", 1)
        room = int(ray.cluster_resources().get(kind, 0) / each)
        if room == 0:
            raise ExecutionError(
                f"the Ray cluster has no {kind} for a job; add a node: ray start --address=..."
            )
        return self._workers or room

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End this executor's actors and what they run; the cluster stays."""
        for actor in (*self._starting.values(), *self._busy.values(), *self._idle):
            ray.kill(actor)
        self._starting, self._busy, self._idle = {}, {}, []

    def run(self, jobs: Sequence[Job], on_result: OnResult | None = None) -> list[Result]:
        """As `LocalExecutor.run`."""
        round_ = Round(jobs, on_result)  # what runs is named by the future of its result
        try:
            with two_interrupts() as asked:
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

    def _staff(self, round_: Round) -> None:
        """Ask for actors while some are missing, and give every idle one a job; one that starts has none yet."""
        alive = len(self._idle) + len(self._busy)
        if round_.failed_starts >= TRIES and not alive:
            round_.give_up()
        wanted = min(self.workers, len(round_.waiting) + len(round_.running))
        for _ in range(wanted - alive - len(self._starting)):
            actor = _remote(self._gpus).remote(*self._arguments)
            self._starting[actor.refuses.remote(versions())] = actor
        while self._idle and round_.waiting:
            actor, index = self._idle.pop(), round_.waiting.popleft()
            future = actor.run.remote(json.dumps(asdict(round_.jobs[index]), allow_nan=False))
            self._busy[future], round_.running[future] = actor, index

    def _serve(self, round_: Round) -> None:
        """Wait a moment for the actors; take in who is ready, what is done and who was lost."""
        futures = [*self._starting, *self._busy]
        done, _ = ray.wait(futures, timeout=0.5) if futures and round_.open else ([], [])
        for future in done:
            actor = self._starting.pop(future, None) or self._busy.pop(future)
            index = round_.running.pop(future, None)
            try:
                answer, trouble = ray.get(future), ""
            except ray.exceptions.RayError as error:
                answer, trouble = "", f"the node was lost: {str(error).splitlines()[0]}"
            if index is None:
                self._arrived(actor, trouble or answer, round_)
            elif trouble:
                round_.lost(index, trouble)
                while self._idle:  # they may be gone with the same node: better fresh ones than a second loss
                    ray.kill(self._idle.pop())
            else:
                self._idle.append(actor)
                fields = json.loads(answer)
                round_.deliver(index, Result(**fields | {"layers": tuple(fields["layers"])}))

    def _arrived(self, actor: Any, trouble: str, round_: Round) -> None:
        if not trouble:
            self._idle.append(actor)
            return
        ray.kill(actor)
        round_.failed_starts += 1
        round_.last_failure = trouble


def _remote(gpus: float) -> Any:
    return ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD")(_Node)
