"""A rehearsal: trials that take milliseconds in the real sandbox, in the real loop, over a real archive.

Loaded into pytest (``-p tests.rigs.sandbox.rehearsal --stand-ins``) every admission and every trial runs its stand-in
from here: a function of what the job was asked, that rejects, crashes, diverges and scores as real ones do. Such
numbers mean nothing, and their archive must be one of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asiarc.core.seeds import rng_of
from asiarc.engineer.workshop import VERSIONS
from asiarc.execution import LocalExecutor, executor_on
from asiarc.execution.job import KEPT, Job, OnResult, Result
from asiarc.execution.line import Line
from asiarc.execution.round import Warm

if TYPE_CHECKING:
    import pytest

CHANCE = {"overwrite": 1 / 16}
PRELOAD = ("tests.rigs.sandbox.rehearsal", "asiarc.models.baselines")


# --- the stand-ins, which run in the sandbox -------------------------------------------------------------------------


def admission(payload: dict[str, Any]) -> dict[str, Any]:
    """What the gates might say of a source; one in ten is rejected, a baseline never."""
    name, luck = _named(payload["source"])
    if name and luck < 0.1:
        reason = f"{name} is rejected in this rehearsal"
        finding = {"gate": "causality", "verdict": "rejected", "reason": reason}
        return {"admitted": False, "findings": [finding], "measures": None}
    finding = {"gate": "shapes", "verdict": "passed", "reason": ""}
    measures = {"parameters": 1000, "state_bytes": 4096, "flops_per_token": 2000.0}
    return {"admitted": True, "findings": [finding], "measures": measures}


def train(payload: dict[str, Any], checkpoints: object = None) -> dict[str, Any]:
    """Keep what a trial might find; one source in ten crashes and one diverges, a baseline never."""
    Path(KEPT).write_text(json.dumps(_found(payload)))
    return {}


def answer(_: dict[str, Any], line: Line) -> dict[str, Any]:
    """Tell the referee what was kept."""
    line.send(Path(KEPT).read_bytes())
    return {}


def score(_: dict[str, Any], line: Line) -> dict[str, Any]:
    """Believe it."""
    return json.loads(line.receive(1 << 20))


def _found(payload: dict[str, Any]) -> dict[str, Any]:
    name, luck = _named(payload["source"])
    if name and luck < 0.2:
        raise RuntimeError(f"{name} crashes in this rehearsal")
    if name and luck < 0.3:
        return {"ended": "diverged", "reason": f"{name} diverges in this rehearsal"}
    recipe, task = payload["recipe"], payload["task"].partition(":")[0]
    place = (payload["task"], payload["seed"])
    noise = rng_of("noise", _hash(payload["source"]), *place).gauss(0, 0.004)
    gain = rng_of("gain", _hash(payload["source"])).gauss(0, 0.1) + noise
    shared = rng_of("shared", *place).gauss(0, 0.05)
    in_bits = 2.8 - 0.001 * recipe["steps"] - gain + shared + abs(recipe["learning_rate"] - 0.008)
    value = CHANCE[task] + 0.5 + noise if task in CHANCE else in_bits
    return {
        "metric": "accuracy" if task in CHANCE else "bits_per_byte",
        "value": value,
        "items": [{"document": number, "value": value + number} for number in range(20)],
        "curve": [[recipe["steps"], value, value]],
        "parameters": 100_000,
        "hidden": 128,
        "state_bytes": 8192,
        "flops_per_token": 4000.0,
    }


def _hash(source: str) -> str:
    return hashlib.blake2b(source.encode(), digest_size=8).hexdigest()


def _named(source: str) -> tuple[str, float]:
    """A candidate's hash and its luck in [0, 1); a baseline has no name here, and nothing happens to it."""
    from asiarc.models.baselines import SHIPPED_NAMES, baseline_source

    if source in [baseline_source(name) for name in SHIPPED_NAMES]:
        return "", 1.0
    return _hash(source), rng_of("luck", _hash(source)).random()


# --- the pytest plugin ------------------------------------------------------------------------------------------------


class Rehearsing:
    """An executor that runs each admission's and each trial's stand-in on another executor."""

    def __init__(self, inner: Warm) -> None:
        self.inner = inner

    def run(self, jobs: Sequence[Job], on_result: OnResult | None = None) -> list[Result]:
        """As `Executor.run`."""
        return self.inner.run([self._stand_in(job) for job in jobs], on_result)

    @staticmethod
    def _stand_in(job: Job) -> Job:
        named = (job.function, job.then, job.referee)
        function, then, referee = (name and f"{__name__}:{name.partition(':')[2]}" for name in named)
        return replace(job, function=function, then=then, referee=referee)

    def close(self) -> None:
        """End the inner executor's workers."""
        self.inner.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of a rehearsal."""
    group = parser.getgroup("asiarc rehearsal")
    group.addoption("--stand-ins", action="store_true", help="trials are stand-ins: their numbers mean nothing")


def pytest_configure(config: pytest.Config) -> None:
    """Replace the one place that makes the workers of trials."""
    from asiarc.engineer import workshop

    def made(workers: int, where: str = "local", gpus_per_job: float = 0) -> Any:
        local = LocalExecutor(workers, PRELOAD)
        return Rehearsing(executor_on(where, local, versions=VERSIONS, gpus_per_job=gpus_per_job))

    if config.option.stand_ins:
        workshop.trial_executor = made
