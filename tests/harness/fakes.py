"""A laboratory without torch: candidates that are a few constants, and an executor that computes from them.

A candidate's source assigns what the laboratory should find, e.g. ``GAIN = 0.3``; a real source (a baseline, the
grammar's) is worth what its address hashes to. Every answer is a function of the job's payload alone, as training is.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import asiarc.core.candidate
import asiarc.core.recipe
import asiarc.loop.run
import asiarc.tasks.task
from asiarc import Budget, Campaign, Stage, by_tier
from asiarc.archive.store import Archive
from asiarc.core.candidate import content_address
from asiarc.core.proposal import Context, Failure, Origin, Proposal
from asiarc.core.recipe import MICRO, STAGES, StagePlan
from asiarc.core.seeds import rng_of
from asiarc.engineer.workshop import Workshop
from asiarc.execution import Job, Result
from asiarc.loop.run import Run
from asiarc.models.baselines import BASELINE_NAMES, baseline_source

CHANCE = {"overwrite": 1 / 16, "reset": 0.4, "noise": 0.25, "copying": 0.25}
NOT_LEARNT = {"noise"}  # tasks that nobody is better on than chance, unless it is stated
START = content_address(baseline_source("delta_net"))
BASELINE_OF = {content_address(baseline_source(name)): name for name in BASELINE_NAMES}
PLANS = {
    (tier, stage): StagePlan(MICRO, rungs if stage == "explore" else (250,), keep, 0.5, documents=64)
    for tier, rungs, keep in (
        ("smoke", (12,), 1.0),
        ("quick", (60, 125), 1 / 3),
        ("full", (60, 125, 250), 1 / 3),
        ("gpu", (100, 400), 1 / 4),
        ("paper", (250,), 1.0),
    )
    for stage in STAGES
}
TEXTS = {"train": np.zeros(4096, np.uint8)}
PROVENANCE = dict(git_commit="none", git_dirty="", python="", packages={}, platform="", cpu="", cores=2, command=[])
address_of, PATTERN_OF = cache(content_address), cache(asiarc.core.recipe.pattern_of)
FULL_BUDGET = {tier: Budget(candidates=12, minutes=60) for tier in ("smoke", "quick", "full")}


@contextmanager
def still() -> Iterator[None]:
    """Nothing reads the corpus (its hash is enough) or asks git, the sizes of the stages are those above, and what a
    source is called is found once: a test that runs the same sources a hundred times would spend half its time there.

    Around every test of the harness, and around each run, so that fixtures that live longer than a test have it too.
    """
    with pytest.MonkeyPatch.context() as patch:
        a_text = SimpleNamespace(content_hash="a text", texts=TEXTS)
        patch.setattr(asiarc.tasks.task, "docstring_corpus", lambda: a_text)
        patch.setattr(asiarc.loop.run, "provenance", lambda: dict(PROVENANCE))
        patch.setattr(asiarc.core.recipe, "_PLANS", PLANS)
        patch.setattr(asiarc.core.candidate, "content_address", address_of)
        patch.setattr(asiarc.core.recipe, "pattern_of", PATTERN_OF)
        yield


def candidate(name: str, **constants: Any) -> str:
    """A source that the laboratory understands; equal constants are the same candidate."""
    lines = [f'"""{name}: as good as it says."""', f"NAME = {name!r}"]
    return "\n".join([*lines, *(f"{key} = {value!r}" for key, value in constants.items())]) + "\n"


def constants_of(source: str) -> dict[str, Any]:
    """The plain assignments of a source."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


@cache
def is_python(source: str) -> bool:
    try:
        return bool(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


@cache
def worth(source: str) -> dict[str, Any]:
    """What the laboratory will find of a candidate."""
    address = address_of(source)
    if address == START:
        return {"GAIN": 0.0}
    if address in BASELINE_OF:
        return {"GAIN": 0.05}
    stated = constants_of(source) if "NAME = " in source else {}
    return {"GAIN": rng_of("worth", address).gauss(0, 0.1)} | stated


A_MACHINE = [Result("ok", {"cuda": True, "flops_per_s": 1e11})]


def asks_of_the_machine(jobs: Sequence[Job]) -> bool:
    """Whether this is the job that asks what a device can do, which runs no candidate; `A_MACHINE` answers it."""
    return [job.label for job in jobs] == ["device"]


class FakeExecutor:
    """Runs jobs in the order in which `workers` processes of differing speed would end them.

    `interrupt_at` raises KeyboardInterrupt in place of that job's answer (counted from 0 over the executor's life);
    `ends` may answer a job itself. `jobs` are those that were answered.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        interrupt_at: int | None = None,
        ends: Callable[[Job], Result | None] = lambda _: None,
    ) -> None:
        self.workers, self.interrupt_at, self.ends = workers, interrupt_at, ends
        self.log: list[str] = []
        self.jobs: list[Job] = []

    def run(self, jobs: Sequence[Job], on_result: Callable[[int, Result], None] | None = None) -> list[Result]:
        if asks_of_the_machine(jobs):
            return A_MACHINE
        results: dict[int, Result] = {}
        rng = rng_of("speeds", self.workers, len(jobs))
        waiting, running = list(range(len(jobs))), []
        while waiting or running:
            while waiting and len(running) < self.workers:
                running.append(waiting.pop(0))
            index = running.pop(rng.randrange(len(running)))
            if len(self.log) == self.interrupt_at:
                raise KeyboardInterrupt
            results[index] = self.ends(jobs[index]) or answer(jobs[index])
            self.log.append(job_key(jobs[index]))
            self.jobs.append(jobs[index])
            if on_result:
                on_result(index, results[index])
        return [results[index] for index in range(len(jobs))]

    def close(self) -> None:
        pass

    @property
    def trials(self) -> list[dict[str, Any]]:
        """The payloads of the trials that were run."""
        return [job.payload | job.secret for job in self.jobs if job.referee]

    @property
    def repeated(self) -> list[str]:
        """Jobs that were answered more than once."""
        return [label for label, count in Counter(self.log).items() if count > 1]


def job_key(job: Job) -> str:
    """A job told apart from all others."""
    return job.function + json.dumps(job.payload, sort_keys=True)


def answer(job: Job) -> Result:
    """What the sandbox would hand back."""
    kind = job.function.rpartition(":")[2]
    if not is_python(job.payload["source"]):
        finding = {"gate": "static", "verdict": "rejected", "reason": "not Python: line 1"}
        return Result("ok", {"admitted": False, "findings": [finding], "measures": None})
    stated = worth(job.payload["source"])
    ending = stated.get("ENDS", {}).get(kind if kind == "admission" else place_of(job.payload))
    if ending is not None:
        return Result(ending, None, f"it {ending}", wall_s=1.0, cpu_s=1.0)
    return Result(
        "ok", (_admission if kind == "admission" else _trial)(job.payload | job.secret, stated), wall_s=1.0, cpu_s=1.0,
        parts_wall_s=(0.5, 0.5),
    )


def place_of(payload: dict[str, Any]) -> str:
    """``"text/explore/0"``: the task, stage and seed of a trial; a study's seeds begin with the stage."""
    stage, number = payload["seed"].split("/")[-2:]
    return f"{payload['task'].partition(':')[0]}/{stage}/{number}"


def known_as(task: str) -> str:
    """The task without its level; one of a person's own by its function's name."""
    base, _, rest = task.partition(":")
    return rest.rpartition("-")[0] if base == "own" else base


def _admission(payload: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    if "REJECTED" in stated:
        finding = {"gate": stated["REJECTED"], "verdict": "rejected", "reason": "it looks ahead"}
        return {"admitted": False, "findings": [finding], "measures": None}
    measures = {"parameters": 1000, "state_bytes": 4096, "flops_per_token": 2000.0}
    return {
        "admitted": True,
        "findings": [{"gate": "shapes", "verdict": "passed", "reason": ""}],
        "measures": measures | stated.get("MEASURES", {}),
    }


def _trial(payload: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    where, task = place_of(payload), known_as(payload["task"])
    for ending in ("diverged", "size"):
        if where in stated.get(ending.upper(), ()):
            return {"ended": ending, "reason": f"it {ending}"}
    value = stated.get("VALUES", {}).get(where)
    if value is None:
        value = _value(payload, stated, where, task)
    steps = payload["recipe"]["steps"]
    return {
        "metric": "accuracy" if task in CHANCE else "bits_per_byte",
        "value": value,
        "items": [{"document": 0, "value": value}],
        "curve": [[steps, value, value]],
        "parameters": 100_000,
        "hidden": 128,
        "state_bytes": 8192,
        "flops_per_token": 4000.0,
    }


def _value(payload: dict[str, Any], stated: dict[str, Any], where: str, task: str) -> float:
    recipe = payload["recipe"]
    own = rng_of("trial", address_of(payload["source"]), where, payload["split"]).gauss(0, 0.004)
    if task in CHANCE:
        return CHANCE[task] + stated.get(task.upper(), 0.0 if task in NOT_LEARNT else 0.5) + own
    shared = rng_of("data", where).gauss(0, 0.05)
    rate = 3 * abs(recipe["learning_rate"] - stated.get("BEST_RATE", recipe["learning_rate"]))
    gain = stated["GAIN"] + stated.get("LATE_GAIN", 0.0) * (payload["seed"].split("/")[1] != "explore")
    return 2.8 - 0.001 * recipe["steps"] - gain + rate + shared + own


class Writer:
    """A researcher that proposes the sources that it was given, in order, and counts how often it was asked."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources, self.contexts = list(sources), []

    def propose(self, context: Context) -> Proposal:
        self.contexts.append(context)
        source = self.sources[context.index]
        stated = constants_of(source) if "NAME = " in source else {}
        return Proposal(
            source=source,
            name=stated.get("NAME", "nameless"),
            motivation="because",
            origins=(Origin(element="everything", kind="original"),),
            parents=(context.parent.address,),
            genome=stated.get("GENOME"),
            predicted="text up",
        )


class Mender(Writer):
    """A writer that can also mend: what it answers by the name of what was turned away, as often as there is more."""

    def __init__(self, sources: Sequence[str], mended: dict[str, str]) -> None:
        super().__init__(sources)
        self.mended, self.asked = mended, []

    def revise(self, proposal: Proposal, failure: Failure, number: int, version: int) -> Proposal:
        self.asked.append((number, version, failure.gate))
        source = self.mended[proposal.name]
        return replace(proposal, source=source, name=str(constants_of(source)["NAME"]))


def campaign(**changes: Any) -> Campaign:
    """A small campaign; fields as given."""
    fields = dict(
        start_from="delta_net",
        baselines=("delta_net", "mamba2"),
        controls=(),
        explore=Stage(tasks=("text", "overwrite"), seeds=2),
        verify=Stage(tasks=("text", "overwrite"), seeds=3, top=3),
        confirm=Stage(tasks=("text",), seeds=4),
        budget=by_tier(**FULL_BUDGET),
    )
    return Campaign(**fields | changes)


def budget(candidates: int) -> Any:
    """The same number of candidates at every tier."""
    return by_tier(**{tier: Budget(candidates=candidates, minutes=60) for tier in ("smoke", "quick", "full")})


def written(*sources: str, **changes: Any) -> Campaign:
    """A campaign whose researcher proposes just these."""
    return campaign(**{"researcher": Writer(sources), "budget": budget(len(sources)), "match": ()} | changes)


class Bench:
    """A campaign over an archive in a folder; each `run` is what a new process would do."""

    def __init__(self, campaign: Campaign, folder: Path, *, name: str = "question", tier: Any = "quick") -> None:
        self.campaign, self.folder, self.name, self.tier = campaign, folder, name, tier
        self.said: list[str] = []

    def run(
        self,
        executor: Any = None,
        *stages: str,
        deadline: float | None = None,
        then: Callable[[Run], Any] = lambda _: None,
    ) -> Any:
        """Run the stages (all of them when none is named) and return `then(run)`."""
        with still(), Archive(self.folder) as archive:
            workshop = Workshop(archive, executor or FakeExecutor(), deadline=deadline)
            run = Run(self.campaign, self.name, self.tier, archive, workshop, self.said.append)
            for stage in stages or self.campaign.stages:
                run.ensure(stage)
            return then(run)

    def stage(self, name: str) -> dict[str, Any]:
        """What a finished stage handed over."""
        return self.run(Refusing(), name, then=lambda run: run.ensure(name))

    def results(self) -> dict[str, dict[str, Any]]:
        """How each candidate ended, by its name."""
        with Archive(self.folder, write=False) as archive:
            run = archive.runs(self.name, self.tier)[-1]["run"]
            names = {row["number"]: row["name"] for row in archive.proposals(run)}
            return {names[row["number"]]: row for row in archive.results(run)}

    def content(self) -> dict[str, list[Any]]:
        """Everything that the archive says, but for times and places."""
        return content(self.folder)


class Refusing(FakeExecutor):
    """For work that must not be done again."""

    def run(self, jobs: Sequence[Job], on_result: Any = None) -> list[Result]:
        raise AssertionError(f"{len(jobs)} jobs were run again")


def assert_same(mine: dict[str, list[Any]], other: dict[str, list[Any]], when: str = "") -> None:
    """Equal contents; else the rows of the first table that differ."""
    for table, rows in mine.items():
        extra = [row for row in rows if row not in other[table]]
        missing = [row for row in other[table] if row not in rows]
        assert not extra and not missing, f"{when}: {table} has {extra[:2]}, not {missing[:2]}"


PASSING = {"created_at", "provenance", "wall_s", "cpu_s", "train_s", "peak_memory_bytes", "gpu_memory_bytes",
           "energy_j", "peak_flops_per_s"}  # fmt: skip
TABLES = (
    "runs", "candidates", "proposals", "results", "admissions", "trials", "uses", "insights", "stages", "verdicts",
    "versions",
)  # fmt: skip


def content(folder: Path) -> dict[str, list[Any]]:
    """Every table of an archive as sorted rows, and every items file, but for times and places."""
    with Archive(folder, write=False) as archive:
        tables = {
            table: sorted(
                json.dumps({k: v for k, v in row.items() if k not in PASSING}, sort_keys=True)
                for row in archive.rows(f"SELECT * FROM {table}")
            )
            for table in TABLES
        }
        items = {path.name: archive.items(path.name[:16]) for path in sorted(folder.glob("items/*/*"))}
    return tables | {"items": sorted(items.items())}
