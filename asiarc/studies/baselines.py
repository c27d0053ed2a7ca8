"""Every baseline on every task, and the published orders between them: the harness's own control, as a study.

If Gated DeltaNet is not ahead of DeltaNet, and DeltaNet not ahead of plain linear attention, then a gain measured here
means nothing. Trained as verify trains a campaign of seed 0, so that campaigns and the table share their trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from asiarc.core.candidate import content_address
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.recipe import Tier, TrialRecipe, stage_plan
from asiarc.engineer.workshop import Workshop
from asiarc.loop.trials import trial_recipe
from asiarc.models.baselines import baseline_source
from asiarc.studies.study import Study
from asiarc.tasks import get_task

NAME = "baselines"  # the run's name in the archive
REFERENCE = "delta_net"  # every model is brought to its size

# Tasks that never decide are trained for this share of their suggested steps below the full tier: they are many, and
# at CPU size they do not order the mixers anyway.
REPORTED_SHARE = 0.25

# (ahead, behind, task): published orders that a CPU-size run can re-find.
SIGNATURES = (
    ("gated_delta_net", "delta_net", "text"),
    ("mamba2", "delta_net", "text"),
    ("delta_net", "linear_attention", "text"),
    ("delta_net", "linear_attention", "overwrite"),
    ("gated_delta_net", "linear_attention", "overwrite"),
    ("gated_delta_net", "delta_net", "reset"),
    ("mamba2", "linear_attention", "reset"),
)


class Baselines(Study):
    """Published mixers, which no gate has to let in, at the sizes, seeds and text of verify."""

    STAGE_OF_TRIALS: ClassVar[str] = "verify"
    SEEDS_FROM: ClassVar[str] = "0/verify"

    tier: Tier = "smoke"
    size_of: str | None = None  # REFERENCE's, whether it is in the table or not
    gated: bool = False
    seeds: int = Field(default=3, ge=2, le=64)
    # DeltaNet's seeds fall in two groups on text: three leave its interval wide
    signature_seeds: int = Field(default=5, ge=2, le=64, description="on tasks where an order is read off")

    @property
    def match(self) -> tuple[str, str]:
        """`REFERENCE`'s address and source."""
        source = baseline_source(REFERENCE)
        return content_address(source), source

    def seeds_on(self, task: str) -> int:
        """More seeds where an order is read off."""
        return self.signature_seeds if task in {read for _, _, read in SIGNATURES} else self.seeds

    def recipe(self, task: str, tier: Tier) -> TrialRecipe:
        """Verify's, shorter below the full tier for tasks that only report."""
        plan = stage_plan(tier, "verify")
        is_short = tier in ("smoke", "quick") and get_task(task).role == "reported"
        share = plan.capability * (REPORTED_SHARE if is_short else 1.0)
        return trial_recipe(task, plan.text, plan.rungs[-1], share)

    def documents(self, tier: Tier) -> int:
        """As many as verify scores on."""
        return stage_plan(tier, "verify").documents

    def admit(self, workshop: Workshop) -> Mapping[str, Outcome]:
        """All of them: the quadratic reference is refused for its cost alone."""
        return dict.fromkeys(self.mixers, SCORED)


def table(baselines: Sequence[str], tasks: Sequence[str], seeds: int | None = None) -> Baselines:
    """The study of some baselines on some tasks; `seeds` on every task, where it is given."""
    mixers = {name: baseline_source(name) for name in baselines}
    found = Baselines(mixers=mixers, tasks=tuple(tasks))
    return found.model_copy(update={"seeds": seeds, "signature_seeds": seeds}) if seeds else found
