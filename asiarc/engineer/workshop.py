"""The workshop: the engineer's side of the loop. Admits candidates and runs trials in the sandbox, and stores each
result the moment it is there.

This is where a candidate is rejected: `Workshop.admit` stores the gates' findings, `Workshop.train` the outcome of
every trial. Work that the archive already holds is not done again.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from asiarc.archive.store import Archive, Trial
from asiarc.campaign.code import ENTRIES, kernel, operators, reached
from asiarc.campaign.identity import all_kernels, made_by, versions
from asiarc.core.bought import Bought
from asiarc.core.candidate import address_of
from asiarc.core.device import PRECISION, Device, device_type
from asiarc.core.digest import digest
from asiarc.core.errors import BudgetExhaustedError, ExecutionError
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.recipe import TRIAL_MEMORY_BYTES, TrialRecipe
from asiarc.engineer import returned
from asiarc.execution import Executor, Job, Limits, LocalExecutor, Result, executor_on, shelf
from asiarc.execution.removal import remove_tree
from asiarc.execution.round import Warm
from asiarc.tasks import Task, get_task

ADMIT_LIMITS = Limits(wall_s=240, cpu_s=90, memory_bytes=6 * 2**30)  # up to `ADMIT_WIDTH`; wider mixers have longer
ADMIT_WIDTH = 256
MICRO_PARAMETERS = 200_000  # about: models up to these train a thousand tokens a second at the very least
SANDBOX_DEVICE: Device = "cpu"  # where candidates are admitted, timed and probed
GATE_EXAMPLES = 8
ECHO = Job("asiarc.execution.job:echo", {}, label="echo")  # no candidate is in it
LOSSES = 3  # how often in a row a job may end as the machine's fault, before it is the job's own
VERSIONS = "asiarc.engineer.workshop:node_versions"


@dataclass(frozen=True)
class Request:
    """One trial to run: everything but the candidate's source is plain data that the key hashes."""

    address: str
    source: str
    task: str
    stage: str
    seed: str
    recipe: TrialRecipe
    match: tuple[str, str] | None  # (address, source) of the candidate whose size the model is brought to
    split: str
    documents: int
    device: Device = field(default_factory=device_type)
    mixers: Mapping[str, str] = field(default_factory=dict)  # name -> source of the others in the pattern

    @property
    def opened(self) -> Task:
        """The task as the recipe's tokenizer reads it."""
        return get_task(self.task, self.recipe.tokenizer)

    @property
    def payload(self) -> dict[str, Any]:
        """What goes into the sandbox: nothing of what the trial is scored on."""
        shown = {k: v for k, v in self._settings.items() if k in ("task", "seed", "recipe", "device")}
        others = {"mixers": dict(self.mixers)} if self.mixers else {}
        return {"source": self.source, "match_source": self.match[1] if self.match else None, **shown, **others}

    @property
    def job(self) -> Job:
        """The trial as it is run: trained, then scored by a referee outside the sandbox."""
        secret = {k: self._settings[k] for k in ("task", "recipe", "split", "documents", "items")}
        return Job(
            "asiarc.engineer.trial:train",
            self.payload,
            self.limits,
            label=f"{self.task} {self.address}",
            then="asiarc.engineer.trial:answer",
            referee="asiarc.engineer.referee:score",
            secret=secret,
        )

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "seed": self.seed,
            "recipe": self.recipe.as_dict(),
            "split": self.split,
            "documents": self.documents,
            "items": f"{self.stage} items",
            "device": self.device,
        }

    @cached_property
    def key(self) -> str:
        """The trial's name: equal keys are the same trial, in whichever campaign it was asked for."""
        sources = [self.source, *([self.match[1]] if self.match else []), *self.mixers.values()]
        others = {"mixers": {n: address_of(s) for n, s in sorted(self.mixers.items())}} if self.mixers else {}
        made = {
            "address": self.address,
            "match": self.match[0] if self.match else None,
            "task_identity": self.opened.identity,
            **made_by("trial", sources=sources, device=self.device),
            "precision": self.recipe.precision or PRECISION[self.device],
            **others,
        }
        return digest(made | self._settings)

    @property
    def _numbers(self) -> float:
        """About how many parameters the model has."""
        r = self.recipe.filled_by(self.source)
        each = sum(16 + 3 * r.mlp_ratio * block.share for block in r.blocks)
        return r.vocab_size * r.d_model + each * r.d_model**2

    def shelf(self, parent: Path) -> shelf.Shelf:
        """The trial's own place for checkpoints: parameters and two moments of each, and as much again."""
        return shelf.Shelf(str(parent / self.key), (64 << 20) + 24 * round(self._numbers), shelf.EVERY_S)

    @property
    def limits(self) -> Limits:
        """Generous: a budget is in steps, the sandbox only ends what has gone wrong."""
        cpu_s = 120 + self.recipe.tokens / 1000 * max(1.0, self._numbers / MICRO_PARAMETERS)
        kept_bytes = (64 << 20) + 8 * round(self._numbers)  # twice what the trained parameters take
        return Limits(wall_s=4 * cpu_s, cpu_s=cpu_s, memory_bytes=TRIAL_MEMORY_BYTES, file_bytes=kept_bytes)


def admit_limits(d_model: int) -> Limits:
    """What examining a mixer of a width may take: CPU-seconds grow with its 1.4th power, allowed is the square."""
    longer = max(1.0, (d_model / ADMIT_WIDTH) ** 2)
    return replace(ADMIT_LIMITS, wall_s=ADMIT_LIMITS.wall_s * longer, cpu_s=ADMIT_LIMITS.cpu_s * longer)


def _outcome(result: Result) -> Outcome:
    """The sandbox's status in the words of the archive."""
    kinds = {
        "timed_out": "timed_out",
        "out_of_memory": "out_of_memory",
        "infrastructure": "unscored",
        "crashed": "crashed",
    }
    return Outcome(kinds[result.status], result.reason or result.status)  # type: ignore[arg-type]


def _pace_outcome(result: Result, allowed: float) -> Outcome:
    if result.status != "ok" or result.value is None:
        return _outcome(result)
    ratio, low, high = (result.value[name] for name in ("ratio", "low", "high"))
    if low is None or low <= allowed:
        return SCORED
    slow = f"a step takes {ratio:.2f} [{low:.2f}, {high:.2f}] times that of the start, allowed are {allowed:g}"
    return Outcome("rejected", slow, "time")


def trial_executor(workers: int, where: str = "local", gpus_per_job: float = 0, readable: Sequence[Path] = ()) -> Warm:
    """Warm workers for admissions and trials: they hold what a trial imports, and may read `readable` beside it.

    `where` is "local", "ray" or "ray:ADDRESS"; raises `ExecutionError` where no such cluster answers.
    """
    local = LocalExecutor(workers, preload=("torch", "asiarc.engineer.warm"), readable=readable)
    return executor_on(where, local, versions=VERSIONS, gpus_per_job=gpus_per_job)


class Workshop:
    """Admission and training with an archive and an executor; `deadline` (monotonic seconds) is the hard cap."""

    def __init__(self, archive: Archive, executor: Executor, *, deadline: float | None = None) -> None:
        self.archive = archive
        self.executor = executor
        self.deadline = deadline
        self.new_trials = 0
        self._peaks: dict[Device, float | None] = {}

    def _run(
        self, jobs: Mapping[str, Job], shape: type[returned.Shape], on_result: Callable[[int, Result], None]
    ) -> None:
        """Run jobs by their keys; those that the machine failed under are answered last."""
        if not jobs:
            return
        self._require_time(len(jobs))
        keys, lost = [*jobs], dict[int, Result]()

        def deliver(index: int, result: Result) -> None:
            result = returned.checked(result, shape)
            if result.status == "infrastructure":
                lost[index] = result
            else:
                self.archive.set_losses(keys[index], 0)
                on_result(index, result)

        self.executor.run([*jobs.values()], deliver)
        for index, result in sorted(lost.items()):
            on_result(index, self._blamed(keys[index], result))

    def _require_time(self, left: int) -> None:
        """Raise `BudgetExhaustedError` where the deadline is over with so many pieces of work left."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise BudgetExhaustedError(
                f"the campaign's minutes are used up with {left} pieces of work of this step left; everything "
                "finished is kept: run the same command again to go on, or raise minutes in the campaign's budget"
            )

    def _blamed(self, key: str, result: Result) -> Result:
        """A job whose process ends the machine's own would never end as anything else: where that happened `LOSSES`
        times in a row, and a job without a candidate runs, it is the job's crash."""
        times = self.archive.losses(key) + 1
        if times < LOSSES or self.executor.run([ECHO])[0].status != "ok":
            self.archive.set_losses(key, times)
            return result
        self.archive.set_losses(key, 0)
        reason = f"the machine failed under it {times} times in a row, and under no other job: {result.reason}"
        return replace(result, status="crashed", reason=reason)

    def admit(
        self, candidates: dict[str, str], recipe: TrialRecipe, *, exempt: dict[str, frozenset[str]] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Run the gates on each ``address -> source``; the stored admissions by address."""
        exemptions = {address: sorted((exempt or {}).get(address, ())) for address in candidates}
        keys = {
            address: digest(
                {
                    "address": address,
                    "d_model": recipe.d_model,
                    "num_heads": recipe.num_heads,
                    "examples": GATE_EXAMPLES,
                    "exempt": exemptions[address],
                    **made_by("admission", sources=[source], device=SANDBOX_DEVICE),
                }
            )
            for address, source in candidates.items()
        }
        missing = [address for address, key in keys.items() if not self._admitted(key)]
        jobs = [
            Job(
                "asiarc.engineer.trial:admission",
                {
                    "source": candidates[address],
                    "seed": 0,
                    "recipe": recipe.as_dict(),
                    "max_examples": GATE_EXAMPLES,
                    "exempt": exemptions[address],
                },
                admit_limits(recipe.d_model),
                label=f"admit {address}",
            )
            for address in missing
        ]

        def store(index: int, result: Result) -> None:
            address = missing[index]
            outcome, findings, measures = _read_admission(result)
            self.archive.add_admission(keys[address], address, outcome, findings, measures, result.cpu_s)

        self._run(dict(zip((keys[a] for a in missing), jobs, strict=True)), returned.AdmissionShape, store)
        admissions = {address: self.archive.admission(key) for address, key in keys.items()}
        return {address: admission for address, admission in admissions.items() if admission is not None}

    def within_time(
        self, candidates: dict[str, str], against: tuple[str, str], allowed: float, recipe: TrialRecipe
    ) -> dict[str, Outcome]:
        """Rejected is each ``address -> source`` whose step surely takes over `allowed` times that of `against`.

        The time is taken once and kept; "surely" is the lower bound of the ratio, so that noise rejects nobody.
        """
        size = {"d_model": recipe.d_model, "num_heads": recipe.num_heads, "tokens": recipe.seq_len}
        keys = {
            a: digest(
                {
                    "address": a,
                    "pace": against[0],
                    "allowed": allowed,
                    **size,
                    **made_by("pace", sources=[source, against[1]], device=SANDBOX_DEVICE),
                }
            )
            for a, source in candidates.items()
        }
        missing = [address for address, key in keys.items() if not self._admitted(key)]
        payloads = [{"source": candidates[a], "against": against[1], **size} for a in missing]
        limits = admit_limits(recipe.d_model)
        jobs = [Job("asiarc.engineer.pace:pace", payload, limits, label="pace") for payload in payloads]

        def store(index: int, result: Result) -> None:
            address = missing[index]
            outcome = _pace_outcome(result, allowed)
            self.archive.add_admission(keys[address], address, outcome, [], result.value, result.cpu_s)

        self._run(dict(zip((keys[a] for a in missing), jobs, strict=True)), returned.PaceShape, store)
        kept = {address: self.archive.admission(key) for address, key in keys.items()}
        return {address: admission["outcome"] for address, admission in kept.items() if admission is not None}

    def fingerprints(self, candidates: dict[str, str], recipe: TrialRecipe) -> dict[str, list[float] | None]:
        """What each ``address -> source`` computes on fixed probes; None where that cannot be said."""
        size, probes = {"d_model": recipe.d_model, "num_heads": recipe.num_heads}, _probes(recipe)
        missing = [a for a in candidates if self.archive.behaviour(probes, a) is None]
        function = "asiarc.engineer.fingerprint:fingerprint"
        payloads = [{"source": candidates[address], **size} for address in missing]
        limits = admit_limits(recipe.d_model)
        jobs = [Job(function, payload, limits, label="fingerprint") for payload in payloads]

        def store(index: int, result: Result) -> None:
            if result.status != "infrastructure":
                numbers = (result.value or {}).get("fingerprint") or []
                self.archive.add_behaviour(probes, missing[index], numbers)

        self._run(dict(zip((f"{probes} {a}" for a in missing), jobs, strict=True)), returned.FingerprintShape, store)
        return {address: self.archive.behaviour(probes, address) or None for address in candidates}

    def behaving_as(self, fingerprint: Sequence[float], within: float, recipe: TrialRecipe) -> list[str]:
        """The addresses whose every number is within a distance of these, in order."""
        return self.archive.behaving_as(_probes(recipe), fingerprint, within)

    def _admitted(self, key: str) -> bool:
        stored = self.archive.admission(key)
        return stored is not None and stored["outcome"].is_final

    def train(
        self, run: str, requests: Sequence[Request], said: Callable[[Trial], None] = lambda _: None
    ) -> list[Trial]:
        """Run each request's trial unless the archive holds it, and return all of them in order.

        Raises `ExecutionError` where the machine failed: a stage never rests on trials that were not run.
        """
        unique = {request.key: request for request in requests}
        missing = [r for key, r in unique.items() if not self._is_over(key)]
        missing.sort(key=lambda r: -r.recipe.tokens)  # long ones first, so that no worker idles at the end
        if missing:
            self._require_time(len(missing))
        for request in missing:
            request.opened.keep()
        for device in {request.device for request in missing}:
            self._look_at(device)
        shelves = self.archive.folder.absolute() / "checkpoints"
        shelf.sweep(shelves, self._is_over)
        jobs = {request.key: replace(request.job, shelf=request.shelf(shelves)) for request in missing}

        def store(index: int, result: Result) -> None:
            trial = self._store_trial(missing[index], result)
            if trial.outcome.is_final:
                remove_tree(shelves / trial.key)
            self.new_trials += 1
            said(trial)

        self._run(jobs, returned.TrialShape, store)
        shelf.sweep(shelves, self._is_over)
        for request in requests:
            self.archive.add_use(run, request.stage, request.key)
        found = [self.archive.trial(request.key) for request in requests]
        trials = [trial for trial in found if trial is not None]
        assert len(trials) == len(requests), "a trial that ran was stored"
        for trial in trials:
            if not trial.outcome.is_final:
                raise ExecutionError(
                    f"the machine could not run {trial.task} for {trial.address}: {trial.outcome.reason}; nothing is "
                    "lost, run the same command again"
                )
        return trials

    def _is_over(self, key: str) -> bool:
        trial = self.archive.trial(key)
        return trial is not None and trial.outcome.is_final

    def _look_at(self, device: Device) -> None:
        """Ask a job without a candidate what a device can do; `ExecutionError` where a GPU is not there."""
        if device in self._peaks:
            return
        job = Job("asiarc.engineer.trial:device", {"device": device}, label="device")
        found = returned.checked(self.executor.run([job])[0], returned.DeviceShape)
        value = found.value or {}
        if device == "cuda" and not value.get("cuda"):
            raise ExecutionError(
                f"the trials are for a GPU and torch finds none {found.reason or 'here'}; set ASIARC_DEVICE=cpu to "
                "train on the CPU, on a cluster with GPUs give --gpus-per-job 1"
            )
        self._peaks[device] = value.get("flops_per_s")

    def _store_trial(self, request: Request, result: Result) -> Trial:
        value = result.value or {}
        outcome = _trial_outcome(result)
        scored = outcome.kind == "scored"
        trial = Trial(
            key=request.key,
            address=request.address,
            task=request.task,
            stage=request.stage,
            seed=request.seed,
            steps=request.recipe.steps,
            learning_rate=request.recipe.learning_rate,
            outcome=outcome,
            metric=value.get("metric") if scored else None,
            value=value.get("value") if scored else None,
            parameters=value.get("parameters"),
            state_bytes=value.get("state_bytes"),
            flops_per_token=value.get("flops_per_token"),
            curve=value.get("curve", []),
            details={
                "hidden": value.get("hidden"),
                **_seconds(result),
                **(value.get("read") or {}),
                **{name: value[name] for name in ("within", "passes") if value.get(name)},
                **_noted(result),
            },
            wall_s=result.wall_s,
            cpu_s=result.cpu_s,
            bought=Bought(
                tokens=request.recipe.tokens if scored else 0,
                train_s=result.parts_wall_s[0] if result.parts_wall_s else None,
                peak_memory_bytes=result.peak_memory_bytes,
                gpu_memory_bytes=result.gpu_memory_bytes,
                energy_j=result.energy_j,
                peak_flops_per_s=self._peaks.get(request.device),
            ),
        )
        with self.archive.transaction():
            self.archive.add_trial(trial, request.recipe.as_dict(), layers=result.layers)
            if scored:
                self.archive.add_items(request.key, value["items"])
        return trial


def node_versions() -> dict[str, str]:
    """What must be equal on every node for a result not to depend on the node: Python, the deciding packages, and
    the code of every entry point and kernel."""
    code = {f"code of {entry}": reached(entry).whole for entry in ENTRIES}
    kernels = {f"kernel {name}": kernel(name, "triton") for name in operators()}
    return {"python": platform.python_version(), **code, **kernels, **versions()}


def _probes(recipe: TrialRecipe) -> str:
    """The name of the probes that fingerprints of a size are taken with: those of two names are not compared."""
    size = {"d_model": recipe.d_model, "num_heads": recipe.num_heads}
    made = made_by("fingerprint", device=SANDBOX_DEVICE) | {"kernels": all_kernels(SANDBOX_DEVICE)}
    return digest(made | size)


def _read_admission(result: Result) -> tuple[Outcome, list[dict[str, Any]], dict[str, Any] | None]:
    if result.status != "ok" or result.value is None:
        return _outcome(result), [], None
    value = result.value
    if value["admitted"]:
        return SCORED, value["findings"], value["measures"]
    rejection = next(f for f in value["findings"] if f["verdict"] == "rejected")
    return Outcome("rejected", rejection["reason"], rejection["gate"]), value["findings"], None


def _trial_outcome(result: Result) -> Outcome:
    if result.status != "ok" or result.value is None:
        return _outcome(result)
    reason = result.value.get("reason", "")
    match result.value.get("ended"):
        case None:
            return SCORED
        case "size":
            return Outcome("rejected", reason, "size match")
        case "rejected":
            return Outcome("rejected", reason, result.value["gate"])
        case _:
            return Outcome("crashed", reason)


def _noted(result: Result) -> dict[str, list[str]]:
    """What became of a trial's checkpoints, where there is anything to say."""
    return {"notes": [*result.notes]} if result.notes else {}


def _seconds(result: Result) -> dict[str, float]:
    """CPU-seconds of a trial's parts, where it had both: the kernel's count."""
    if len(result.parts_cpu_s) < 3:
        return {}
    trained, answered, refereed = result.parts_cpu_s
    return {"train_cpu_s": trained, "score_cpu_s": answered + refereed}
