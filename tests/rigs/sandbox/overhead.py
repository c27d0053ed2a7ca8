"""What the harness costs: an empty job, twenty candidates that cost nothing, and a real explore stage taken apart.

`empty_jobs` times a job that returns what it was given, from giving it to having its result checked: a fork, every
layer entered, a channel and a supervisor, the scratch folder made and removed. `twenty` is wall time from the command's
start to its end, the sandbox on, with stand-ins for admissions and trials (`rehearsal`): all that is left is the
harness. `explore` trains for real and says where the CPU-seconds went, beside the bare training loop on the same
candidate, in as many plain processes at once as there are workers: trainings that share a machine's caches slow each
other, and that is not the harness's doing. All want a quiet machine.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from asiarc.archive.store import Archive
from asiarc.core.recipe import Tier, TrialRecipe, stage_plan
from asiarc.execution import Job, LocalExecutor
from tests.rigs.sandbox.attacks import ECHO
from tests.rigs.sandbox.endurance import Stand

CAMPAIGN = '''"""What do twenty candidates cost that cost nothing?"""

from asiarc import Budget, Campaign, Stage, by_tier

twenty = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(tasks=("text",)),
    budget=by_tier(smoke=Budget(candidates=20, minutes=60)),
)
'''


def empty_jobs(calls: int) -> list[float]:
    """Wall-seconds of each of so many empty jobs, one after another, after one that warms up."""
    job, spent_s = Job(ECHO, {"value": 1.0}), []
    with LocalExecutor(workers=1, preload=("torch",)) as executor:
        executor.run([job])
        for _ in range(calls):
            began_s = time.perf_counter()
            (result,) = executor.run([job])
            spent_s.append(time.perf_counter() - began_s)
            assert result.status == "ok", result.reason
    return spent_s


def told(spent_s: list[float]) -> str:
    """Median and 95th percentile in one line."""
    late_s = sorted(spent_s)[math.ceil(0.95 * len(spent_s)) - 1]
    return (
        f"the sandbox adds {1000 * median(spent_s):.1f} ms to a call, the 95th percentile "
        f"{1000 * late_s:.1f} ms ({len(spent_s)} calls)"
    )


def twenty(folder: Path, workers: int) -> tuple[float, int]:
    """Seconds for twenty candidates from nothing to the archive, and how many jobs went into the sandbox."""
    stand = Stand(folder, campaign=CAMPAIGN, tier="smoke")
    seconds = stand.finish("twenty", "--workers", str(workers))
    return seconds, len(stand.paid("twenty"))


@dataclass(frozen=True)
class Spent:
    """CPU-seconds of one explore stage by what they were spent on, and its wall-seconds."""

    candidates: int
    trials: int
    wall_s: float
    train_s: float
    score_s: float
    around_s: float  # of the trials' own processes, besides training and scoring: fork, build, counting
    admit_s: float
    start_s: float  # of starting the warm workers, once a session: their imports
    sandbox_s: float  # of the workers and the supervisors from then on: forks, layers, watching
    driver_s: float  # of the loop itself
    bare_s: float  # the same trials' training, by the bare loop's seconds a step

    @property
    def harness(self) -> float:
        """What comes on top of the bare loop around each trial, as a share of it; starting the workers is not in it."""
        return (self.train_s - self.bare_s + self.around_s + self.sandbox_s + self.driver_s) / self.bare_s

    @property
    def per_hour(self) -> float:
        """Candidates an hour."""
        return 3600 * self.candidates / self.wall_s

    def lines(self) -> list[str]:
        """The table as text; shares are of the training."""
        rows = {
            "training": self.train_s, "  bare loop, same steps": self.bare_s, "scoring": self.score_s,
            "around a trial": self.around_s, "forks and layers": self.sandbox_s, "loop and archive": self.driver_s,
            "admission": self.admit_s, "starting the workers": self.start_s,
        }  # fmt: skip
        table = [f"{name:<24} {value:8.2f} CPU-s  {value / self.train_s:7.1%}" for name, value in rows.items()]
        head = f"{self.candidates} candidates, {self.trials} trials, {self.wall_s:.1f} s, {self.per_hour:.0f} an hour"
        return [head, *table, f"the harness adds {self.harness:.1%} to the bare loop"]


def explore(folder: Path, candidates: int, workers: int, tier: Tier = "quick") -> Spent:
    """Run an explore stage for real, alone in this process, and take its cost apart."""
    from asiarc import Budget, Campaign, Stage, by_tier
    from asiarc.engineer.workshop import Workshop, trial_executor
    from asiarc.loop.run import Run

    campaign = Campaign(
        start_from="delta_net",
        baselines=("delta_net",),
        explore=Stage(tasks=("text",), seeds=2),
        budget=by_tier(**{tier: Budget(candidates=candidates, minutes=600)}),
    )
    start_s = _start_s(workers)
    started, driver_s = time.monotonic(), time.process_time()
    children_s = _children_s()
    with Archive(folder / "store") as archive:
        with trial_executor(workers) as executor:
            run = Run(campaign, "profile", tier, archive, Workshop(archive, executor), lambda _: None)
            run.ensure("explore")
        wall_s, driver_s = time.monotonic() - started, time.process_time() - driver_s
        children_s = _children_s() - children_s
        trials = archive.trials(run.run)
        (admit_s,) = archive.rows("SELECT sum(cpu_s) AS cpu_s FROM admissions")[0].values()
        sources = {trial.address: run.bench.source(trial.address) for trial in trials}
    jobs_s = sum(trial.cpu_s for trial in trials)
    train_s = sum(trial.details.get("train_cpu_s", 0.0) for trial in trials)
    score_s = sum(trial.details.get("score_cpu_s", 0.0) for trial in trials)
    chosen = max((t for t in trials if "train_cpu_s" in t.details), key=lambda t: t.steps)
    recipe = stage_plan(tier, "explore").text.at(steps=chosen.steps)
    slower = bare_train_s(sources[chosen.address], recipe, workers) / chosen.details["train_cpu_s"]
    return Spent(
        candidates, len(trials), wall_s, train_s, score_s, jobs_s - train_s - score_s, admit_s,
        start_s, children_s - jobs_s - admit_s - start_s, driver_s, train_s * slower,
    )  # fmt: skip


def _start_s(workers: int) -> float:
    """CPU-seconds of workers that start, answer one empty job each and end."""
    from asiarc.engineer.workshop import trial_executor

    before_s = _children_s()
    with trial_executor(workers) as executor:
        executor.run([Job(ECHO, {})] * workers)
    return _children_s() - before_s


def _children_s() -> float:
    """CPU-seconds of every process that has ended below this one."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


BARE = """
import json, sys, time
import torch
torch.set_num_threads(1)
torch.set_flush_denormal(True)
from asiarc.engineer.trainer import train
from asiarc.models.backbone import build
from asiarc.core.recipe import TrialRecipe
from asiarc.tasks import get_task
recipe, task = TrialRecipe(**json.loads(sys.argv[1])), get_task("text")
model = build(sys.argv[2], recipe, "0/explore/0", hidden=round(recipe.mlp_ratio * recipe.d_model))
train(model, task, recipe.at(steps=2), "warm")
started = time.process_time()
train(model, task, recipe, "0/explore/0")
print(time.process_time() - started)
"""


def bare_train_s(source: str, recipe: TrialRecipe, at_once: int) -> float:
    """Mean CPU-seconds of the trainer's loop alone, in so many plain processes at once."""
    command = [sys.executable, "-c", BARE, json.dumps(recipe.as_dict()), source]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(at_once)]
    return fmean(float(process.communicate()[0]) for process in running)
