"""Two candidates of a run, or the winners of two runs, seed by seed: what may be said, or why they cannot be compared.

Every effect is the project's own: paired over common seeds, widened for what was compared, and called better only on
the fresh seeds and items of confirm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asiarc.archive.results import CampaignResult, Entrant, paired_by_seed
from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import STAGES, StageName
from asiarc.evidence.effects import Decision, Effect, decide

INSTRUMENT = ("device", "precision", "backend")
CODE = ("code", "kernels", "torch", "transformers", "tokenizers", "lm-eval")


@dataclass(frozen=True)
class PairedGain:
    """The gain of the first side over the second on one task of a stage, and what it allows one to say."""

    stage: StageName
    task: str
    effect: Effect
    decision: Decision


def of_candidates(result: CampaignResult, a: Entrant, b: Entrant) -> list[PairedGain]:
    """Two candidates or baselines of one run, on every task of the deepest stage that has both on common seeds."""
    if a.address == b.address:
        raise EvidenceError(f"{a.name} {a.address} is compared with itself; give two different candidates")
    for stage in reversed(_stages(result)):
        found = _paired(result, stage, a, b)
        if found:
            return found
    raise EvidenceError(
        f"{a.name} and {b.name} share no two seeds of a stage in run {result.run}, so nothing pairs them: "
        f"{_trained(result, a)}; {_trained(result, b)}. Compare two that reached one stage: asiarc show {result.name}"
    )


def _stages(result: CampaignResult) -> Sequence[StageName]:
    return ("explore",) if result.spec["verify"] is None else STAGES


def _paired(result: CampaignResult, stage: StageName, a: Entrant, b: Entrant) -> list[PairedGain]:
    both = {}
    for task in result.tasks(stage):
        mine, theirs = a.values(task, stage), b.values(task, stage)
        if len(mine.keys() & theirs.keys()) >= 2:
            both[task] = mine, theirs
    count = _comparisons(result, stage, a, b) * len(both)
    return [_gain(stage, task, *sides, count) for task, sides in both.items()]


def _gain(stage: StageName, task: str, mine: dict[str, float], theirs: dict[str, float], count: int) -> PairedGain:
    effect = paired_by_seed(mine, theirs, task, num_comparisons=count)
    is_fresh = stage == "confirm"
    return PairedGain(stage, task, effect, decide(effect, fresh_seeds=is_fresh, fresh_items=is_fresh))


def _comparisons(result: CampaignResult, stage: StageName, a: Entrant, b: Entrant) -> int:
    """All pairs of that kind that one might have looked at: candidates with baselines, or candidates with another."""
    baselines = set(result.baselines.values())
    handed_over = result.stages.get(stage, {}).get("entrants")
    entrants = len(handed_over) if handed_over else result.evaluated
    if {a.address, b.address} & baselines:
        return max(1, entrants * len(baselines))
    return max(1, entrants * (entrants - 1) // 2)


def _trained(result: CampaignResult, one: Entrant) -> str:
    seeds = {stage: {s for task in result.tasks(stage) for s in one.values(task, stage)} for stage in _stages(result)}
    told = ", ".join(f"{len(found)} seeds of {stage}" for stage, found in seeds.items() if found)
    return f"{one.name} has {told or 'no scored trial'}"


def of_runs(a: CampaignResult, b: CampaignResult) -> tuple[Entrant, Entrant, list[PairedGain]]:
    """What two runs found, on the tasks that decide in the deepest stage that both have finished.

    Raises `EvidenceError` where they were not measured alike, with the first thing that differs.
    """
    if a.run == b.run:
        raise EvidenceError(f"both are run {a.run} of {a.name}; name another run of it as {a.name}@RUN")
    if a.tier != b.tier:
        raise EvidenceError(f"{a.name} ran at tier {a.tier}, {b.name} at {b.tier}: run both at one tier")
    finished = [stage for stage in STAGES if stage in a.stages and stage in b.stages]
    if not finished:
        raise EvidenceError(
            f"{a.name} and {b.name} have finished no stage both at tier {a.tier}; run them to the end: "
            f"pytest campaigns --tier {a.tier}"
        )
    stage = finished[-1]
    tasks = [task for task in a.deciding_tasks(stage) if task in b.deciding_tasks(stage)]
    if not tasks:
        raise EvidenceError(
            f"no task decides in both: {', '.join(a.deciding_tasks(stage))} in {a.name}, "
            f"{', '.join(b.deciding_tasks(stage))} in {b.name}; give both a task in common"
        )
    _hold_alike(a, b, stage, tasks)
    mine, theirs = _found(a, stage), _found(b, stage)
    return (
        mine,
        theirs,
        [_gain(stage, task, mine.values(task, stage), theirs.values(task, stage), len(tasks)) for task in tasks],
    )


def _found(result: CampaignResult, stage: StageName) -> Entrant:
    """The winner; where only explore was finished, who led it."""
    if stage != "explore":
        return result.winner
    leading = result.stage(stage)["finalists"]
    if not leading:
        raise EvidenceError(f"nothing was scored in {result.name}; asiarc why-rejected {result.name} lists the reasons")
    return result.entrant(leading[0])


def _hold_alike(a: CampaignResult, b: CampaignResult, stage: StageName, tasks: Sequence[str]) -> None:
    """The same training on the same data by the same instrument: declared alike, and seen in a baseline of both."""
    mine, theirs = _identity(a), _identity(b)
    fields = [(f"the plan of {stage}", "plans", stage), *((f"the task {task}", "tasks", task) for task in tasks)]
    for what, field, key in fields:
        if mine[field].get(key) != theirs[field].get(key):
            raise EvidenceError(
                f"{what} is not the same in run {a.run} and run {b.run}: gains of one are no gains of the other; run "
                f"both campaigns again with the same asiarc and settings"
            )
    for field in INSTRUMENT:
        if mine[field] != theirs[field]:
            raise EvidenceError(
                f"the runs differ in {field} ({mine[field]} and {theirs[field]}); run both on the same kind of machine"
            )
    _hold_same_baseline(a, b, stage, tasks)


def _hold_same_baseline(a: CampaignResult, b: CampaignResult, stage: StageName, tasks: Sequence[str]) -> None:
    shared = [name for name in a.baselines if a.baselines[name] == b.baselines.get(name)]
    seen = False
    for name in shared:
        for task in tasks:
            mine, theirs = (run.baseline(name).values(task, stage) for run in (a, b))
            for seed in sorted(mine.keys() & theirs.keys()):
                seen = True
                if mine[seed] != theirs[seed] and _rates(a, name) == _rates(b, name):
                    raise EvidenceError(
                        f"{name} scored {mine[seed]:.6g} on {task} in run {a.run} and {theirs[seed]:.6g} in {b.run} "
                        f"with the same seed {seed}: the two were not measured alike; run both with the same asiarc"
                    )
    if not seen and any(_identity(a).get(field) != _identity(b).get(field) for field in CODE):
        raise EvidenceError(
            f"run {a.run} and run {b.run} were made by different code or packages and share no baseline that could "
            "show that nothing moved; run both with the same asiarc"
        )


def _rates(result: CampaignResult, baseline: str) -> Any:
    """The learning rate that verify found for a baseline."""
    return result.stages.get("verify", {}).get("learning_rates", {}).get(result.baselines[baseline])


def _identity(result: CampaignResult) -> dict[str, Any]:
    found = result.archive.run(result.run)
    assert found is not None, result.run
    identity: dict[str, Any] = found["identity"]
    return identity
