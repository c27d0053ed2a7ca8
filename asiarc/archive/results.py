"""What a campaign found, read from the archive: the object behind the `outcome` fixture.

Everything a test or a claim may ask is here, and the word "better" is not: `gain_over` gives an effect with its
interval, from the fresh seeds and fresh items of confirm.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.core.recipe import STAGES
from asiarc.tasks import get_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asiarc.archive.store import Archive, Trial
    from asiarc.evidence.effects import Effect

Values = dict[str, float]  # seed -> value


def values_of(trials: Iterable[Trial], address: str, task: str) -> Values:
    """The scored values of one candidate on one task, by seed; an unscored trial is absent, never a number."""
    return {
        t.seed: t.value for t in trials if t.address == address and t.task == task and t.value is not None
    }


def mean_gain(
    candidate: Mapping[str, float], baseline: Mapping[str, float], *, higher_is_better: bool
) -> float | None:
    """Mean paired difference over common seeds, positive when the candidate is ahead; None without a pair."""
    common = sorted(candidate.keys() & baseline.keys())
    if not common:
        return None
    sign = 1 if higher_is_better else -1
    return sum(sign * (candidate[seed] - baseline[seed]) for seed in common) / len(common)


def paired_by_seed(candidate: Values, baseline: Values, task: str, *, num_comparisons: int = 1) -> Effect:
    """The paired effect of two sides' values by seed; `EvidenceError` for fewer than two common seeds."""
    from asiarc.evidence.effects import paired_effect

    number = {seed: index for index, seed in enumerate(sorted(candidate.keys() | baseline.keys()))}
    a, b = ({number[seed]: value for seed, value in side.items()} for side in (candidate, baseline))
    return paired_effect(
        a, b, higher_is_better=get_task(task).higher_is_better, num_comparisons=num_comparisons
    )


@dataclass(frozen=True)
class Entrant:
    """A candidate or baseline in one stage, with its measured resources."""

    address: str
    name: str
    source: str
    motivation: str
    measures: Mapping[str, float]
    result: CampaignResult = field(repr=False)

    def values(self, task: str, stage: str) -> Values:
        """Values by seed on one task in one stage; explore's are those of its last rung, so that all trained alike."""
        trials = [trial for trial in self.result.trials(stage) if trial.task == task]
        longest = max((trial.steps for trial in trials), default=0)
        return values_of([trial for trial in trials if trial.steps == longest], self.address, task)

    def gain_over(self, baseline: str, task: str | None = None, *, stage: str = "confirm") -> Effect:
        """The paired gain over a baseline: by seed, on fresh seeds and items, widened for all comparisons of the stage.

        `task` defaults to the first task that decides. Raises `EvidenceError` when the stage or task is not the
        campaign's, has not been run, or has fewer than two common seeds.
        """
        tasks = self.result.tasks(stage)
        task = task or self.result.deciding_tasks(stage)[0]
        if task not in tasks:
            raise EvidenceError(unknown_name(f"task of {stage}:", task, tasks))
        other = self.result.baseline(baseline)
        mine, theirs = self.values(task, stage), other.values(task, stage)
        if not mine or not theirs:
            raise EvidenceError(
                f"{self.name} and {baseline} have no scored trials on {task!r} in {stage}; run that stage first: "
                f"pytest campaigns --tier {self.result.tier} -k {stage}"
            )
        return paired_by_seed(mine, theirs, task, num_comparisons=self.result.num_comparisons(stage))


@dataclass(frozen=True)
class CampaignResult:
    """One run of a campaign, as the archive holds it."""

    archive: Archive = field(repr=False)
    run: str
    name: str
    tier: str
    spec: Mapping[str, Any]

    @classmethod
    def load(cls, archive: Archive, run: str) -> CampaignResult:
        """A run by its identity."""
        found = archive.run(run)
        assert found is not None, f"run {run} is not in the archive"
        return cls(archive, run, found["campaign"], found["tier"], found["identity"]["spec"])

    def stage(self, stage: str) -> dict[str, Any]:
        """What a finished stage handed over; `EvidenceError` while it is not finished."""
        self.tasks(stage)
        found = self.archive.stage_result(self.run, stage)
        if found is None:
            raise EvidenceError(
                f"{self.name} has not finished {stage} at tier {self.tier}; run: pytest campaigns --tier {self.tier}"
            )
        return found

    def trials(self, stage: str | None = None) -> list[Trial]:
        """Stored trials of the run."""
        if stage not in self._trials:
            self._trials[stage] = self.archive.trials(self.run, stage)
        return self._trials[stage]

    @cached_property
    def _trials(self) -> dict[str | None, list[Trial]]:
        return {}

    def tasks(self, stage: str) -> tuple[str, ...]:
        """The tasks of a stage; `EvidenceError` where the campaign has no such stage."""
        if stage not in STAGES:
            raise EvidenceError(unknown_name("stage", stage, STAGES))
        spec = self.spec[stage] or (self.spec["verify"] if stage == "confirm" else None)
        if spec is None:
            raise EvidenceError(
                f"{self.name} declares no {stage}, so nothing was verified; declare verify=Stage(...)"
            )
        return tuple(spec["tasks"])

    def deciding_tasks(self, stage: str) -> tuple[str, ...]:
        """The tasks of a stage that may decide; all of them when none may."""
        tasks = self.tasks(stage)
        return tuple(task for task in tasks if get_task(task).decides) or tasks

    def num_comparisons(self, stage: str) -> int:
        """Candidates that entered the stage, times the baselines and the deciding tasks they are compared on."""
        entrants = max(1, len(self.stage(stage)["entrants"]))
        return entrants * len(self.spec["baselines"]) * len(self.deciding_tasks(stage))

    def entrant(self, address: str, name: str | None = None) -> Entrant:
        """Any candidate of the archive as an entrant of this run."""
        row = self.archive.candidate(address)
        assert row is not None, address
        measured = self.archive.rows(
            "SELECT measures FROM admissions WHERE address = ? AND measures IS NOT NULL", address
        )
        measures = json.loads(measured[-1]["measures"]) if measured else {}
        return Entrant(address, name or row["name"], row["source"], row["motivation"], measures, self)

    def baseline(self, name: str) -> Entrant:
        """A baseline of the campaign by name."""
        from asiarc.core.candidate import content_address
        from asiarc.models.baselines import baseline_source

        if name not in self.spec["baselines"]:
            raise EvidenceError(unknown_name("baseline of this campaign", name, self.spec["baselines"]))
        return self.entrant(content_address(baseline_source(name)), name)

    @property
    def baselines(self) -> list[Entrant]:
        """The campaign's baselines."""
        return [self.baseline(name) for name in self.spec["baselines"]]

    def best_baseline(self, stage: str) -> Entrant:
        """The baseline with the best mean on the first deciding task of a stage."""
        task = self.deciding_tasks(stage)[0]
        sign = 1 if get_task(task).higher_is_better else -1

        def mean(baseline: Entrant) -> float:
            values = baseline.values(task, stage).values()
            if not values:
                raise EvidenceError(f"{baseline.name} has no scored trials on {task} in {stage}")
            return sign * sum(values) / len(values)

        return max(self.baselines, key=mean)

    def compare(self, ahead: str, behind: str, task: str, stage: str, *, num_comparisons: int) -> Effect:
        """The paired gain of one baseline over another in a stage, widened for `num_comparisons`."""
        mine, theirs = (self.baseline(name).values(task, stage) for name in (ahead, behind))
        return paired_by_seed(mine, theirs, task, num_comparisons=num_comparisons)

    @property
    def winner(self) -> Entrant:
        """The candidate that verify picked; confirm has tested it once more."""
        address = self.stage("verify")["winner"]
        if address is None:
            raise EvidenceError(
                f"{self.name} has no winner: no candidate was scored in verify; see: asiarc show {self.name}"
            )
        return self.entrant(address)

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """Every proposal with how it ended: number, name, address, outcome, rung, gain, scores."""
        proposals = {row["number"]: row for row in self.archive.proposals(self.run)}
        return [{**proposals[row["number"]], **row} for row in self.archive.results(self.run)]

    @property
    def evaluated(self) -> int:
        """Candidates with a scored trial."""
        return sum(row["outcome"].kind == "scored" for row in self.archive.results(self.run))
