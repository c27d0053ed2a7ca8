"""A published gain measured once more: the programs and recipes of its rows, on seeds that nobody has used.

What is trained is what an extract holds, so whoever has the report's folder needs neither its archive nor its campaign.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from asiarc.archive.results import Row, Values, paired_by_seed
from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import STAGES, Tier, TrialRecipe
from asiarc.engineer.workshop import Request
from asiarc.evidence.effects import Effect
from asiarc.loop.trials import trial_request
from asiarc.studies.study import DOCUMENTS, Study
from asiarc.tasks import deciding

_SCORED = """
    SELECT t.address, t.task, t.seed, t.steps, t.value, t.recipe, t.cpu_s FROM uses u JOIN trials t ON t.key = u.trial
    WHERE u.run = ? AND u.stage = ? AND t.outcome = 'scored' AND t.seed NOT LIKE '%tuning%'
"""


class Retraining(Study):
    """Mixers with the recipe that each was published with, on seeds of this study alone."""

    STAGE_OF_TRIALS: ClassVar[str] = "confirm"

    tier: Tier = "smoke"
    size_of: str | None = None
    salt: str = Field(min_length=1, description="makes the seeds: another salt, other seeds")
    recipes: Mapping[str, Mapping[str, Any]] = Field(description="of each mixer, as its published trials had it")
    matched: tuple[str, str] | None = Field(description="address and source of the mixer whose size all are brought to")
    scored_on: int = Field(ge=1, description="texts that a trial is scored on")

    @property
    def match(self) -> tuple[str, str] | None:
        """As it was published."""
        return self.matched

    def recipe(self, task: str, tier: Tier) -> TrialRecipe:
        """The first mixer's; they differ in their learning rates at most."""
        return self._recipe(next(iter(self.mixers)))

    def _recipe(self, mixer: str) -> TrialRecipe:
        return TrialRecipe(**self.recipes[mixer])

    def documents(self, tier: Tier) -> int:
        """As many as the published trials were scored on."""
        return self.scored_on

    def request(
        self, mixer: str, task: str, seed: str, tier: Tier, *, rate: float | None = None, purpose: str = ""
    ) -> Request:
        """One trial at the mixer's own published recipe."""
        return trial_request(
            (self.addresses[mixer], self.mixers[mixer]), task, self.STAGE_OF_TRIALS + purpose, f"{self.salt}/{seed}",
            self._recipe(mixer), match=self.match, documents=self.scored_on,
        )  # fmt: skip


@dataclass(frozen=True)
class Published:
    """Where two mixers were trained alike: the run and stage, their values by seed, and what a trial of them took."""

    run: Row
    stage: str
    task: str
    values: tuple[Values, Values]
    recipes: tuple[Row, Row]
    cpu_s: float

    @property
    def effect(self) -> Effect:
        """The gain of the first over the second."""
        return paired_by_seed(*self.values, self.task)


def published(archive: Archive, ahead: str, behind: str, runs: Sequence[Row] = ()) -> Published:
    """The deepest stage in which two addresses were trained on common seeds, in the latest run that has one (of `runs`,
    where some are given); there the first task that decides.

    Raises `EvidenceError` where there is none.
    """
    for run in reversed(runs or archive.runs()):
        for stage in reversed(STAGES):
            rows = archive.rows(_SCORED, run["run"], stage)
            names = sorted({row["task"] for row in rows})
            for task in dict.fromkeys([*deciding(names), *names]):
                last = max(row["steps"] for row in rows if row["task"] == task)
                kept = [row for row in rows if (row["task"], row["steps"]) == (task, last)]
                sides = [[row for row in kept if row["address"] == address] for address in (ahead, behind)]
                mine, theirs = ({row["seed"]: row["value"] for row in side} for side in sides)
                if len(mine.keys() & theirs.keys()) > 1:
                    recipes = [json.loads(side[0]["recipe"]) for side in sides]
                    cost = [row["cpu_s"] for side in sides for row in side]
                    return Published(run, stage, task, (mine, theirs), (recipes[0], recipes[1]), sum(cost) / len(cost))
    raise EvidenceError(
        f"{ahead} and {behind} share no two seeds in any stage here; give a finalist or a winner, and a baseline that "
        "was trained beside it: the tables of report.md list both"
    )


def again(
    archive: Archive, found: Published, mixers: Mapping[str, tuple[str, Row]], *, seeds: int, salt: str,
    beside: Sequence[str] = (),
) -> Retraining:
    """The study that trains published mixers once more, each given by name as its source and its recipe; on other tasks
    `beside` its own where some are named. `EvidenceError` where a recipe fills blocks with other mixers."""
    if any(recipe.get("layers") for _, recipe in mixers.values()):
        raise EvidenceError("its model has other mixers beside it (a hybrid): those are trained again by its campaign")
    identity = found.run["identity"]
    plan = identity.get("plans", {}).get(found.stage, {})
    return Retraining(
        mixers={name: source for name, (source, _) in mixers.items()}, tasks=(found.task, *beside), seeds=seeds,
        salt=salt, matched=_size_of(archive, identity), scored_on=plan.get("documents", DOCUMENTS),
        recipes={name: recipe for name, (_, recipe) in mixers.items()},
    )  # fmt: skip


def _size_of(archive: Archive, identity: Row) -> tuple[str, str] | None:
    """The mixer (address, source) whose size a run's models are brought to."""
    if "study" in identity:
        address = identity["study"]["mixers"].get(identity["study"]["size_of"])
    else:
        spec = identity["spec"]
        address = identity["baselines"][spec["start_from"]] if "parameters" in spec["match"] else None
    row = archive.candidate(address) if address else None
    return (row["address"], row["source"]) if row else None
