"""A study: the declaration, its trials, and what they say.

Unlike a campaign's, its mixers are all named before anything is trained; only a learning rate may be chosen, from
one grid for all, on a seed and text of its own. Trials are scored on the text that campaigns confirm on. Two
studies that ask for the same trial share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from asiarc.archive.results import Values, paired_by_seed, values_of
from asiarc.archive.retry import forget_failures_of_study
from asiarc.campaign.identity import made_by, provenance
from asiarc.campaign.recipe import CampaignDeclaration
from asiarc.core.candidate import content_address, motivation
from asiarc.core.digest import digest
from asiarc.core.errors import EvidenceError, ExecutionError, TaskError, unknown_name
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.pattern import mixers_of, pattern_of
from asiarc.core.recipe import MICRO, ON_GPU, TIERS, Tier, TrialRecipe, stage_plan
from asiarc.tasks import check_name, get_task

if TYPE_CHECKING:
    from asiarc.archive.store import Archive, Trial
    from asiarc.engineer.workshop import Request, Workshop
    from asiarc.evidence.effects import Effect, Interval

STAGE = "study"  # under which a finished study is kept
DOCUMENTS = 256
Say = Callable[[str], None]


def needs_tier(tier: Tier, needed: Tier, what: str) -> None:
    """Raises `EvidenceError` where a tier is below the one that trains something."""
    if TIERS.index(tier) < TIERS.index(needed):
        raise EvidenceError(f"{what} is trained from the {needed} tier upwards, not at {tier}")


class Study(CampaignDeclaration):
    """What is trained. Seeds are 0, 1, … of an address that all studies share, so that their trials pair."""

    STAGE_OF_TRIALS: ClassVar[str] = "confirm"  # what its trials are marked as
    SEEDS_FROM: ClassVar[str] = "study"

    mixers: dict[str, str] = Field(min_length=1, description="source text by name; of a mixer or of a pattern")
    tasks: tuple[str, ...] = Field(default=("text",), description="empty: the gates only, nothing is trained")
    seeds: int = Field(default=8, ge=2, le=64, description="training seeds of each mixer on each task")
    tier: Tier = Field(default="full", description="the smallest tier that runs it")
    steps: int = Field(default=250, ge=1, description="steps on text, of 4,096 bytes, below the gpu tier")
    share: float = Field(default=1.0, gt=0, description="share of a synthetic task's own steps")
    size_of: str | None = Field(
        default="delta_net", description="the mixer whose size all are brought to; None: each its own"
    )
    learning_rates: tuple[float, ...] = Field(
        default=(), description="grid for text, searched for every mixer alike on the first text of `tasks`"
    )
    gated: bool = Field(default=True, description="train only what the gates admit")
    watched: tuple[str, ...] = Field(
        default=(), description="mixers that are looked into after training on the first task"
    )

    @model_validator(mode="after")
    def _known_names(self) -> Study:
        for task in self.tasks:
            try:
                check_name(task)
            except TaskError as error:
                raise ValueError(str(error)) from error
        for name in (*self.watched, *((self.size_of,) if self.size_of else ())):
            if name not in self.mixers:
                raise ValueError(unknown_name("mixer of this study", name, self.mixers))
        return self

    @cached_property
    def addresses(self) -> dict[str, str]:
        """Content address by name."""
        return {name: content_address(source) for name, source in self.mixers.items()}

    def text(self, tier: Tier) -> TrialRecipe:
        """The model and budget of a trial on text: micro, from the gpu tier upwards that tier's smallest."""
        return stage_plan(tier, "explore").text if tier in ON_GPU else MICRO.at(steps=self.steps)

    def recipe(self, task: str, tier: Tier) -> TrialRecipe:
        """The model and budget of a trial: `text`'s, or a synthetic task's own."""
        from asiarc.loop.trials import trial_recipe

        text = self.text(tier)
        return trial_recipe(task, text, text.steps, self.share)

    def identity(self, tier: Tier) -> dict[str, Any]:
        """The fields that the study's run is the hash of."""
        return {
            "study": self.model_dump(mode="json") | {"mixers": self.addresses},
            "tier": tier,
            "tasks": {task: get_task(task, self.recipe(task, tier).tokenizer).identity for task in self.tasks},
            **made_by("trial", "admission", sources=self.mixers.values()),
        }

    @property
    def match(self) -> tuple[str, str] | None:
        """Address and source of the mixer whose size all are brought to."""
        return (self.addresses[self.size_of], self.mixers[self.size_of]) if self.size_of else None

    @property
    def tuned_on(self) -> str | None:
        """The text that rates are searched on: the first of the study's, if it has one."""
        return next((task for task in self.tasks if get_task(task).kind == "text"), None)

    def seeds_on(self, task: str) -> int:
        """Training seeds of each mixer on a task."""
        return self.seeds

    def documents(self, tier: Tier) -> int:
        """Texts that a trial is scored on."""
        return DOCUMENTS

    def request(
        self, mixer: str, task: str, seed: str, tier: Tier, *, rate: float | None = None, purpose: str = ""
    ) -> Request:
        """One trial; `purpose` keeps apart what is not measured. The mixers that a pattern names come with it."""
        from asiarc.loop.trials import trial_request
        from asiarc.models.baselines import baseline_source

        return trial_request(
            (self.addresses[mixer], self.mixers[mixer]), task, self.STAGE_OF_TRIALS + purpose,
            f"{self.SEEDS_FROM}/{seed}", self.recipe(task, tier), match=self.match,
            documents=self.documents(tier), rate=rate,
            mixers={name: baseline_source(name) for name in mixers_of(pattern_of(self.mixers[mixer]) or ())},
        )  # fmt: skip

    # --- cost -----------------------------------------------------------------------------------------------------

    def trials(self, tier: Tier) -> list[tuple[int, TrialRecipe]]:
        """How many trials of which kind it takes, if the gates admit all; a watched mixer is trained twice."""
        tuned = len(self.learning_rates) if len(self.learning_rates) > 1 else 0
        rows = [(len(self.mixers) * self.seeds_on(task), self.recipe(task, tier)) for task in self.tasks]
        rows += [(len(self.watched) * self.seeds, recipe) for _, recipe in rows[:1] if self.watched]
        if tuned and self.tuned_on:
            rows.append((len(self.mixers) * tuned, self.recipe(self.tuned_on, tier)))
        return rows

    # --- running --------------------------------------------------------------------------------------------------

    def run(self, name: str, tier: Tier, archive: Archive, workshop: Workshop, say: Say) -> StudyResult:
        """Run what the archive does not hold; raises `ExecutionError` where the machine failed."""
        needs_tier(tier, self.tier, f"study {name}")
        identity = self.identity(tier)
        run = digest(identity)
        if archive.stage_result(run, STAGE) is None:
            say(f"study {name} at tier {tier}, run {run}: at most {sum(n for n, _ in self.trials(tier))} trials")
            archive.add_run(run, name, tier, 0, identity, provenance())
            self._conduct(run, tier, archive, workshop, _Progress(self, say, archive, run))
        return self.result(archive, tier, name)

    def retry(self, name: str, tier: Tier, archive: Archive) -> str:
        """Drop what failed for want of a machine, so that `run` does it again; what was dropped, in words."""
        needs_tier(tier, self.tier, f"study {name}")
        return forget_failures_of_study(archive, digest(self.identity(tier)), list(self.addresses.values()), STAGE)

    def _conduct(self, run: str, tier: Tier, archive: Archive, workshop: Workshop, progress: _Progress) -> None:
        for name, source in self.mixers.items():
            archive.add_candidate(self.addresses[name], name, source, motivation(source))
        outcomes = self.admit(workshop)
        entrants = [name for name in self.mixers if not self.gated or outcomes[name] == SCORED]
        rates = self._tune(run, entrants, tier, workshop, progress)
        requests = self.requests(entrants, rates, tier)
        trials = workshop.train(run, list(requests.values()), progress)
        hidden = {trial.key: trial.details["hidden"] for trial in trials if trial.outcome == SCORED}
        looked = self._look(run, requests, hidden, archive, workshop)
        record = {
            "outcomes": {name: outcome.as_dict() for name, outcome in outcomes.items()},
            "rates": rates,
            "probes": looked,
        }
        archive.finish_stage(run, STAGE, record)

    def admit(self, workshop: Workshop) -> Mapping[str, Outcome]:
        """The gates' outcome of each mixer; `ExecutionError` where the machine could not run them. A pattern is let in:
        what may be in it are shipped mixers."""
        patterns = {name for name, source in self.mixers.items() if pattern_of(source)}
        alone = {self.addresses[name]: source for name, source in self.mixers.items() if name not in patterns}
        admissions = workshop.admit(alone, MICRO)
        outcomes = {
            name: SCORED if name in patterns else admissions[address]["outcome"]
            for name, address in self.addresses.items()
        }
        for outcome in outcomes.values():
            if not outcome.is_final:
                raise ExecutionError(f"the machine could not run the gates: {outcome.reason}; run it again")
        return outcomes

    def requests(
        self, entrants: Sequence[str], rates: dict[str, float], tier: Tier
    ) -> dict[tuple[str, str, str], Request]:
        """Every trial that is measured, by mixer, task and seed."""
        return {
            (name, task, seed): self.request(
                name, task, seed, tier, rate=rates.get(name) if get_task(task).kind == "text" else None
            )
            for name in entrants
            for task in self.tasks
            for seed in map(str, range(self.seeds_on(task)))
        }

    def _tune(
        self, run: str, entrants: Sequence[str], tier: Tier, workshop: Workshop, progress: _Progress
    ) -> dict[str, float]:
        """The best learning rate of each on `tuned_on`, on a seed that nothing is measured on."""
        from asiarc.loop.trials import best_rates

        task = self.tuned_on
        if task is None:
            return {}
        return best_rates(
            entrants, self.learning_rates,
            lambda name, rate: self.request(name, task, "tuning/0", tier, rate=rate, purpose=" tuning"),
            lambda requests: workshop.train(run, requests, progress),
            higher_is_better=get_task(task).higher_is_better,
        )  # fmt: skip

    def _look(
        self,
        run: str,
        requests: dict[tuple[str, str, str], Request],
        hidden: dict[str, int],
        archive: Archive,
        workshop: Workshop,
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """Probes of the watched mixers: mixer, then task, then seed; each is kept as soon as it is there."""
        from asiarc.execution import Job

        wanted = {
            where: request
            for where, request in requests.items()
            if where[0] in self.watched and where[1] == self.tasks[0] and request.key in hidden
        }
        stages = {where: f"probe {request.key}" for where, request in wanted.items()}
        missing = [where for where in wanted if archive.stage_result(run, stages[where]) is None]
        jobs = [
            Job(
                "asiarc.studies.probe:run",
                wanted[where].payload | {"hidden": hidden[wanted[where].key]},
                wanted[where].limits,
                label=f"probe {where[0]}",
            )
            for where in missing
        ]

        def store(index: int, result: Any) -> None:
            if result.status == "infrastructure":
                raise ExecutionError(f"the machine could not probe {missing[index][0]}: {result.reason}")
            found = result.value if result.status == "ok" else {"failed": result.reason or result.status}
            archive.finish_stage(run, stages[missing[index]], found)

        if jobs:
            workshop.executor.run(jobs, store)
        looked: dict[str, dict[str, dict[str, Any]]] = {}
        for where, stage in stages.items():
            mixer, task, seed = where
            looked.setdefault(mixer, {}).setdefault(task, {})[f"{self.SEEDS_FROM}/{seed}"] = (
                archive.stage_result(run, stage) or {}
            )
        return looked

    # --- reading --------------------------------------------------------------------------------------------------

    def result(self, archive: Archive, tier: Tier, name: str) -> StudyResult:
        """What a finished study found at a tier; `EvidenceError` where it has not been run, or needs more."""
        needs_tier(tier, self.tier, f"study {name}")
        run = digest(self.identity(tier))
        record = archive.stage_result(run, STAGE)
        if record is None:
            raise EvidenceError(
                f"study {name} has not been run at tier {tier}; run: pytest reproductions --tier {tier} -k {name}"
            )
        outcomes = {mixer: Outcome(**fields) for mixer, fields in record["outcomes"].items()}
        return StudyResult(
            self, name, run, archive.trials(run, self.STAGE_OF_TRIALS), outcomes, record["rates"], record["probes"]
        )


def trained(study: Study, name: str, tier: Tier, store: Path, workers: int, say: Say) -> StudyResult:
    """A study run in a store of its own or another's, by so many warm workers. Errors are those of `Study.run`."""
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop, trial_executor

    with Archive(store) as archive, trial_executor(workers) as executor:
        return study.run(name, tier, archive, Workshop(archive, executor), say)


class _Progress:
    """A line for every tenth trial; what has been trained is the study's at once, so that a report can count it."""

    def __init__(self, study: Study, say: Say, archive: Archive, run: str) -> None:
        self.names = {address: name for name, address in study.addresses.items()}
        self.say, self.archive, self.run = say, archive, run
        self.count, self.cpu_s = 0, 0.0

    def __call__(self, trial: Trial) -> None:
        self.archive.add_use(self.run, trial.stage, trial.key)
        self.count += 1
        self.cpu_s += trial.cpu_s
        if self.count % 10 == 0:
            shown = f"{trial.value:.4f}" if trial.value is not None else str(trial.outcome)
            self.say(
                f"  {self.count} trials, {self.cpu_s:.0f} CPU-seconds; last {self.names[trial.address]} "
                f"{trial.task} {shown}"
            )


@dataclass(frozen=True)
class StudyResult:
    """One finished study: trials, the gates' outcomes, the learning rates chosen, and what the probes saw."""

    study: Study
    name: str
    run: str
    trials: list[Trial]
    outcomes: dict[str, Outcome]
    rates: dict[str, float]
    probes: dict[str, dict[str, dict[str, Any]]]

    def values(self, mixer: str, task: str = "text") -> Values:
        """Scores by seed; a seed whose trial was not scored is absent."""
        if mixer not in self.study.mixers:
            raise EvidenceError(unknown_name("mixer of this study", mixer, self.study.mixers))
        return values_of(self.trials, self.study.addresses[mixer], task)

    def gain(self, ahead: str, behind: str, task: str = "text", *, num_comparisons: int = 1) -> Effect:
        """The paired gain of one mixer over another; `EvidenceError` for fewer than two common seeds."""
        return paired_by_seed(
            self.values(ahead, task), self.values(behind, task), task, num_comparisons=num_comparisons
        )

    def mean(self, mixer: str, task: str = "text", *, level: float = 0.95) -> Interval:
        """The mean score with its t interval."""
        from asiarc.evidence.effects import mean_interval

        return mean_interval(list(self.values(mixer, task).values()), level=level)

    def admitted(self, mixer: str) -> bool:
        """Whether the gates let the mixer in."""
        return self.outcomes[mixer] == SCORED

    def probed(self, mixer: str, quantity: str, task: str = "text") -> Values:
        """A number that the probes took of a watched mixer, by seed."""
        found = self.probes.get(mixer, {}).get(task, {})
        return {seed: float(seen[quantity]) for seed, seen in found.items() if seen.get(quantity) is not None}

    def size(self, mixer: str) -> int | None:
        """Parameters of the whole model on the first task, or None where nothing was trained."""
        address = self.study.addresses[mixer]
        return next((t.parameters for t in self.trials if t.address == address), None)

    @property
    def cpu_s(self) -> float:
        """CPU-seconds of its trials."""
        return sum(trial.cpu_s for trial in self.trials)

    def unscored(self) -> Iterable[str]:
        """``mixer: outcome`` of every trial without a score."""
        names = {address: name for name, address in self.study.addresses.items()}
        return [f"{names[t.address]}: {t.outcome}" for t in self.trials if t.outcome != SCORED]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: name, run, outcomes, rates."""
        return {"name": self.name, "run": self.run, "rates": self.rates} | {
            "outcomes": {mixer: asdict(outcome) for mixer, outcome in self.outcomes.items()}
        }
