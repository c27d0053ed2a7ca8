"""`RayExecutor`: the same jobs on a Ray cluster, each in the sandbox of the node that runs it.

One actor per worker holds a `LocalExecutor` with a single warm worker; jobs and results travel as JSON text. The
driver alone owns the archive, as with the local executor, and results do not depend on which node gave them. A text of
one's own that the driver built travels to the nodes that lack it, by its key, checked by its hash. Nodes must have the
driver's versions: an actor that has others refuses. Needs the extra ``ray``.

A cluster: ``ray start --head`` on one machine, ``ray start --address=HEAD:6379`` on the others, each with the same
installation, then ``RayExecutor(address="HEAD:6379")`` on the head.
"""

from __future__ import annotations

import importlib
import json
import platform
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from asiarc.core.errors import ExecutionError, TaskError
from asiarc.execution.job import InlineExecutor, Job, Result
from asiarc.execution.judge import received
from asiarc.execution.local import LocalExecutor
from asiarc.execution.round import Round, Warm
from asiarc.execution.shelf import sweep
from asiarc.tasks import corpus, get_task, own_text
from asiarc.tasks.keep import cache_folder, packed_folder, unpack_folder

try:
    import ray
except ModuleNotFoundError as error:
    raise ExecutionError("Ray is not installed: pip install 'asiarc[ray]', or run on this machine") from error

_HEAD_S = 10.0  # how long a head may be silent; Ray itself gives up after a minute


def _answer(function: str) -> dict[str, str]:
    """What ``"package.module:callable"`` says here."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)()


def _refusal(function: str, expected: dict[str, str]) -> str:
    """Why what a function says here is not what was expected; empty where it is."""
    here = _answer(function)
    wrong = [
        f"{name} {found} instead of {expected.get(name)}" for name, found in here.items() if found != expected.get(name)
    ]
    if not wrong:
        return ""
    return f"{platform.node()} has {', '.join(wrong)}: install the driver's versions there"


def _large(text: str, versions: str, expected: dict[str, str]) -> str:
    """A job in the process that Ray gave its GPUs to; its result, or why this node must not run it, as JSON."""
    refusal = _refusal(versions, expected)
    result = Result("infrastructure", reason=refusal) if refusal else InlineExecutor().run([Job.from_text(text)])[0]
    return json.dumps(asdict(result))


class _Own(NamedTuple):
    """A text of one's own on its way, or tokens: its files are Ray's, who fetches what a list holds only when asked."""

    key: str
    content_hash: str
    files: list[Any]

    def arrive(self) -> None:
        """Keep it here, where it is not. Raises `TaskError` where it is not what was sent."""
        if "/" in self.key:  # a folder of the cache, named by what it holds
            if not (cache_folder() / self.key).is_dir():
                unpack_folder(self.key, self.content_hash, ray.get(self.files[0]))
        elif not corpus.holds(self.key, self.content_hash):
            corpus.unpack(self.key, self.content_hash, ray.get(self.files[0]))


class _Node:
    """The far end: one warm worker in its node's sandbox."""

    def __init__(self, preload: Sequence[str], readable: Sequence[str], versions: str) -> None:
        self._versions = versions
        self._executor = LocalExecutor(1, preload, readable=[Path(path) for path in readable])

    def refuses(self, expected: dict[str, str]) -> str:
        """Why this node must not be used; empty where it may."""
        return _refusal(self._versions, expected)

    def run(self, text: str, own: Sequence[_Own] = ()) -> str:
        """A job's result; `own` is what it opens that the driver alone has made, fetched where this node lacks it."""
        try:
            for one in own:
                one.arrive()
        except TaskError as error:
            return json.dumps(asdict(Result("infrastructure", reason=f"{platform.node()}: {error}")))
        job = Job.from_text(text)
        if job.shelf is None:
            return json.dumps(asdict(self._executor.run([job])[0]))
        here = cache_folder().resolve() / "checkpoints"
        shelf = replace(job.shelf, folder=str(here / Path(job.shelf.folder).name))
        result = self._executor.run([replace(job, shelf=shelf)])[0]
        over = shelf.folder if result.status != "infrastructure" else ""
        sweep(here, lambda name: name == Path(over).name)
        return json.dumps(asdict(result))


class RayExecutor(Warm):
    """Workers on a Ray cluster, with the promises of `Warm`.

    `address` is the cluster's (None: the one this process belongs to, or a new one on this machine); `workers`
    defaults to the cluster's CPUs, or GPUs where `gpus_per_job` is not 0. `versions` names the function
    (``"package.module:callable"``) whose answer must be the same on every node. Raises `ExecutionError` when the
    cluster cannot be reached or has no room for a single job.
    """

    def __init__(
        self,
        workers: int | None = None,
        preload: Sequence[str] = ("torch",),
        readable: Sequence[Path] = (),
        *,
        versions: str,
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
        self._arguments = (tuple(preload), tuple(str(path) for path in readable), versions)
        self._starting: dict[Any, Any] = {}  # the future of its first answer -> actor
        self._busy: dict[Any, Any] = {}  # the future of its result -> actor
        self._idle: list[Any] = []
        self._texts: dict[str, _Own] = {}
        self._head, self._lost = ray.get_runtime_context().gcs_address, ""

    @property
    def most_workers(self) -> int:
        """As asked, or as many as the cluster has room for now."""
        self._require_head()
        kind, each = ("GPU", self._gpus) if self._gpus else ("CPU", 1)
        room = int(ray.cluster_resources().get(kind, 0) / each)
        if room == 0:
            raise ExecutionError(f"the Ray cluster has no {kind} for a job; add a node: ray start --address=...")
        return self._workers or room

    def run_large(self, job: Job, gpus: int) -> Result:
        """One job on a node that has so many GPUs, in no sandbox: for what starts processes that need each other's
        sockets (`asiarc.engineer.large`), with code that may be trusted. A lost node is `infrastructure`. Warm workers
        that are idle end first: they would keep their GPUs.

        Raises `ExecutionError` where no node has so many.
        """
        self._require_head()
        most = max(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"])
        if most < gpus:
            raise ExecutionError(f"no node of the Ray cluster has {gpus} GPUs, the largest has {most:g}; ask for fewer")
        for actor in (*self._starting.values(), *self._idle):
            ray.kill(actor)
        self._starting, self._idle = {}, []
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_large)
        versions = self._arguments[-1]
        try:
            return received(ray.get(task.remote(job.as_text(), versions, _answer(versions))))
        except ray.exceptions.RayError as error:
            return Result("infrastructure", reason=f"the node was lost: {str(error).splitlines()[0]}")

    def close(self) -> None:
        """End this executor's actors and what they run; the cluster stays, and a lost one has ended them itself."""
        for actor in () if self._lost else (*self._starting.values(), *self._busy.values(), *self._idle):
            ray.kill(actor)
        self._starting, self._busy, self._idle, self._texts = {}, {}, [], {}

    def _require_head(self) -> None:
        """Raise `ExecutionError` where the head does not answer; asked before every call of Ray that needs it.

        Ray itself would wait for the head in that call, and then end this process without a word.
        """
        until = time.monotonic() + _HEAD_S
        while self._lost or (trouble := _trouble(self._head)):
            if self._lost or time.monotonic() > until:
                self._lost = self._lost or trouble
                raise ExecutionError(
                    f"the Ray cluster's head at {self._head} was lost ({self._lost}); everything finished is kept: "
                    "start it again with ray start --head, and run the same command to go on"
                )
            time.sleep(0.5)

    def _staffing(self) -> tuple[int, int]:
        return len(self._idle) + len(self._busy), len(self._starting)

    def _start_worker(self) -> None:
        actor = _remote(self._gpus).remote(*self._arguments)
        self._starting[actor.refuses.remote(_answer(self._arguments[-1]))] = actor

    def _idle_worker(self) -> Any:
        return self._idle[-1] if self._idle else None

    def _give(self, worker: Any, job: Job) -> Any:
        future = worker.run.remote(job.as_text(), self._own(job))
        self._idle.remove(worker)
        self._busy[future] = worker
        return future

    def _own(self, job: Job) -> list[_Own]:
        """What a node needs that the driver alone has made: put into the cluster once."""
        keys = _opened(job.payload["task"], job.payload.get("recipe", {})) if "task" in job.payload else []
        for key in keys:
            if key not in self._texts:
                content_hash, files = packed_folder(key) if "/" in key else corpus.packed(key)
                self._texts[key] = _Own(key, content_hash, [ray.put(files)])
        return [self._texts[key] for key in keys]

    def _serve(self, round_: Round) -> None:
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
                round_.deliver(index, received(answer))

    def _arrived(self, actor: Any, trouble: str, round_: Round) -> None:
        if not trouble:
            self._idle.append(actor)
            return
        ray.kill(actor)
        round_.failed_starts += 1
        round_.last_failure = trouble


def _opened(task: str, recipe: dict[str, Any]) -> list[str]:
    """The key of the text of one's own that a job opens, and the folders of its tokens."""
    key = own_text(task)
    return [*([key] if key else []), *get_task(task, recipe.get("tokenizer", "bytes")).travels]


def _trouble(address: str) -> str:
    """Why nothing listens at an address; empty where something does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError as error:
        return str(error)
    return ""


def _remote(gpus: float) -> Any:
    return ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD")(_Node)
