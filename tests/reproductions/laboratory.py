"""A laboratory without torch for studies: what a trial gives is said by a world, a function of the mixer's name.

A world is ``world(name, task, seed) -> value``; the gates admit all but those that are named, probes
answer as told. `ends` says how the machine broke a job.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from asiarc.archive.store import Archive
from asiarc.core.loading import executed
from asiarc.core.seeds import rng_of
from asiarc.engineer.workshop import Workshop
from asiarc.evidence.paper import load_paper
from asiarc.execution import Job, Result
from asiarc.tasks import get_task
from tests.harness.fakes import A_MACHINE, address_of, asks_of_the_machine

FOLDER = Path(__file__).parents[2] / "reproductions"
World = Callable[[str, str, str], float]


def load(stem: str) -> ModuleType:
    """A claim file as a module of its own."""
    return executed(FOLDER / f"{stem}.py", f"laboratory_{stem}")


def noise(name: str, task: str, seed: str, size: float = 0.002) -> float:
    """A little of each mixer's own, which pairing does not remove."""
    return rng_of("noise", name, task, seed).gauss(0, size)


class Laboratory:
    """An executor that answers from a world; `jobs` are those it answered."""

    def __init__(
        self,
        names: Mapping[str, str],
        world: World,
        *,
        rejected: Mapping[str, str] | None = None,
        probes: Callable[[str, str, str], dict[str, Any]] = lambda name, task, seed: {},
        interrupt_at: int | None = None,
        ends: Callable[[Job], Result | None] = lambda job: None,
    ) -> None:
        self.names = {address_of(source): name for name, source in names.items()}
        self.world, self.rejected, self.probes = world, rejected or {}, probes
        self.interrupt_at, self.ends = interrupt_at, ends
        self.jobs: list[Job] = []

    def run(self, jobs: Sequence[Job], on_result: Callable[[int, Result], None] = lambda *_: None) -> list[Result]:
        if asks_of_the_machine(jobs):
            return A_MACHINE
        results = []
        for index, job in enumerate(jobs):
            if len(self.jobs) == self.interrupt_at:
                raise KeyboardInterrupt
            results.append(self.ends(job) or self.answer(job))
            self.jobs.append(job)
            on_result(index, results[-1])
        return results

    def answer(self, job: Job) -> Result:
        name = self.names[address_of(job.payload["source"])]
        if job.function.endswith("trial:admission"):
            gate = self.rejected.get(name)
            finding = {"gate": gate, "verdict": "rejected", "reason": "as told"}
            measures = {"parameters": 1, "state_bytes": 1, "flops_per_token": 1.0}
            value = {"admitted": gate is None, "findings": [finding] if gate else [], "measures": measures}
            return Result("ok", value, cpu_s=1.0)
        where = (name, job.payload["task"], job.payload["seed"])
        if job.function.endswith("probe:run"):
            return Result("ok", self.probes(*where), cpu_s=1.0)
        metric = get_task(where[1]).metric
        value = self.world(*where) + 0.01 * abs(job.payload["recipe"]["learning_rate"] - 8e-3) * (metric != "accuracy")
        return Result("ok", trial(metric, value), cpu_s=1.0)


def trial(metric: str, value: float) -> dict[str, Any]:
    """What a scored trial hands back, with items that give its value."""
    item = [-value * math.log(2) * 4000, 4000] if metric == "bits_per_byte" else value
    return {
        "metric": metric, "value": value, "items": [{"document": 0, "value": item}], "curve": [[1, value, value]],
        "parameters": 1_000, "hidden": 64, "state_bytes": 8, "flops_per_token": 4.0,
    }  # fmt: skip


def evidence(archive: Archive | None, tier: str = "full", campaign: Any = None) -> Any:
    """What a decider may look at."""

    def of(name: str) -> Any:
        from asiarc.core.errors import EvidenceError

        if campaign is None:
            raise EvidenceError(f"campaign {name} has not run")
        return campaign

    return SimpleNamespace(archive=archive, tier=tier, campaign=of, paper=load_paper(FOLDER))


def conduct(module: ModuleType, studies: Sequence[str], archive: Archive, world: World, **how: Any) -> Laboratory:
    """Run some studies of a claim file in one laboratory."""
    declared = {name: getattr(module, name) for name in studies}
    names = {mixer: source for study in declared.values() for mixer, source in study.mixers.items()}
    laboratory = Laboratory(names, world, **how)
    for name, study in declared.items():
        study.run(name, "full", archive, Workshop(archive, laboratory), lambda _: None)
    return laboratory
