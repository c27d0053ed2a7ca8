"""A question about a kernel: is there one that is faster than ours and as right?

What can be said of a campaign of models (tasks, recipes, rates, sizes) has no meaning here, since nothing is trained:
a candidate is a file that the gates for kernels examine, and a trial is one paired timing beside the shipped kernel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from asiarc.campaign.declaration import ByTier, Campaign
from asiarc.campaign.recipe import CampaignDeclaration
from asiarc.core.errors import unknown_name
from asiarc.core.recipe import STAGES, StageName, Tier
from asiarc.domains.kernel import OPERATORS, RESEARCHERS

ARM = "random"
DRY_TIMINGS, DRY_CANDIDATES = 2, 2
SMOKE_TIMINGS = 2  # as the seeds of a model at smoke


class KernelCampaign(CampaignDeclaration):
    """Searches for a faster kernel of one of asiarc's operators, which is what it starts from and is compared with.

    A stage's number is how often each of its entrants is timed, by fresh processes each time; verify and confirm take
    their times anew, so that none of what chose a winner decides about it.
    """

    domain: Literal["kernel"] = Field(default="kernel", description="what evolves: the file of a kernel")
    operator: str = Field(description="whose kernel it is to be")
    explore: int = Field(default=3, ge=1, le=64, description="timings of every candidate that the gates admit")
    verify: int = Field(default=5, ge=2, le=64, description="timings of each finalist")
    confirm: int = Field(default=9, ge=2, le=64, description="timings of the winner, which decide")
    top: int = Field(default=2, ge=1, description="how many finalists of explore enter verify")
    researcher: str = Field(default="grammar", description="who proposes: grammar, random, or open (nobody else)")
    open: bool = Field(
        default=False, description="take proposals of people and agents (asiarc propose) beside the researcher's own"
    )
    arms: tuple[Literal["random"], ...] = Field(default=(), description="what runs beside it, at equal compute")
    budget: ByTier = Field(description="by_tier(smoke=Budget(...), quick=Budget(...))")
    seed: int = Field(default=0, ge=0, description="everything random in the campaign follows from it")
    _arm: str = PrivateAttr(default="")

    @field_validator("operator")
    @classmethod
    def _known_operator(cls, name: str) -> str:
        if name not in OPERATORS:
            then = "Kernels of other operators are proposed with: asiarc kernel propose FILE --operator NAME."
            raise ValueError(unknown_name("operator", name, OPERATORS, then=then))
        return name

    @field_validator("researcher")
    @classmethod
    def _known_researcher(cls, name: str) -> str:
        if name not in RESEARCHERS:
            raise ValueError(unknown_name("researcher of kernels", name, RESEARCHERS))
        return name

    @property
    def is_open(self) -> bool:
        """Whether people and agents may propose; to the researcher "open" nobody else does."""
        return self.open or self.researcher == "open"

    @property
    def arm(self) -> str:
        """``random`` where this is the control arm; empty for the search itself."""
        return self._arm

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages that run, in order."""
        return STAGES

    def timings(self, stage: StageName, tier: Tier) -> int:
        """How often a stage times each of its entrants: at smoke, which shows that all runs, twice at most."""
        found: int = getattr(self, stage)
        return min(found, SMOKE_TIMINGS) if tier == "smoke" else found

    def at(self, folder: Path, *, build: bool = True) -> KernelCampaign:
        """The campaign of a file in `folder`: it names no other file, and stays what it is."""
        return self

    def as_arm(self, arm: str) -> KernelCampaign:
        """The same campaign searched by chance."""
        assert arm == ARM, arm
        found = self.model_copy(update={"arms": (), "researcher": ARM, "open": False})
        found._arm = arm
        return found

    def as_dry(self, tier: Tier) -> KernelCampaign:
        """The same campaign with two candidates at most and few timings: all its steps, no evidence."""
        budget = self.budget.at(tier)
        few = budget.model_copy(update={"candidates": min(DRY_CANDIDATES, budget.candidates)})
        changes: dict[str, Any] = {stage: min(DRY_TIMINGS, self.timings(stage, tier)) for stage in STAGES}
        changes |= {"researcher": "grammar"} if self.researcher == "open" else {}
        return self.model_copy(update=changes | {"budget": self.budget.model_copy(update={tier: few})})

    def resolved(self, tier: Tier) -> dict[str, Any]:
        """Every field with its value at one tier, as plain data: what the archive keeps and the identity hashes."""
        data = self.model_dump(mode="json", exclude={"budget": True})
        data |= {stage: self.timings(stage, tier) for stage in STAGES}
        return data | {"candidates": self.budget.at(tier).candidates} | ({"arm": self.arm} if self.arm else {})


AnyCampaign = Campaign | KernelCampaign
