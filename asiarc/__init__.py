"""asiarc: pytest for architecture discovery.

A campaign file needs four names: ``from asiarc import Budget, Campaign, Stage, by_tier`` (of kernels, three: `Budget`,
`KernelCampaign`, `by_tier`); a task of one's own needs `task`, a researcher of one's own `Context` and `Proposal` with
what they hold; a kernel file up to four: ``from asiarc import Input, Kernel, Limits, Speed``. They are imported when
first asked for, so that kernels, models and the trainer run where pydantic is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asiarc.campaign.declaration import Budget, ByTier, Campaign, Models, Stage, by_tier
    from asiarc.campaign.kernels import KernelCampaign
    from asiarc.campaign.recipe import Recipe
    from asiarc.core.kernel import Input, Kernel, Limits, Speed
    from asiarc.core.proposal import (
        Belief,
        CognitionHit,
        Context,
        Earlier,
        Failure,
        Foretold,
        Insight,
        MechanismEffect,
        Origin,
        Proposal,
        Relative,
        Researcher,
        Reviser,
        Rival,
        TaskTerms,
        Terms,
        Tried,
        Worth,
    )
    from asiarc.tasks.catalogue import Training
    from asiarc.tasks.declared import task

__all__ = [
    "Belief",
    "Budget",
    "ByTier",
    "Campaign",
    "CognitionHit",
    "Context",
    "Earlier",
    "Failure",
    "Foretold",
    "Input",
    "Insight",
    "Kernel",
    "KernelCampaign",
    "Limits",
    "MechanismEffect",
    "Models",
    "Origin",
    "Proposal",
    "Recipe",
    "Relative",
    "Researcher",
    "Reviser",
    "Rival",
    "Speed",
    "Stage",
    "TaskTerms",
    "Terms",
    "Training",
    "Tried",
    "Worth",
    "by_tier",
    "task",
]
_PLACES = {
    "asiarc.campaign.declaration": ("Budget", "ByTier", "Campaign", "Models", "Stage", "by_tier"),
    "asiarc.campaign.kernels": ("KernelCampaign",),
    "asiarc.campaign.recipe": ("Recipe",),
    "asiarc.core.kernel": ("Input", "Kernel", "Limits", "Speed"),
    "asiarc.tasks.catalogue": ("Training",),
    "asiarc.tasks.declared": ("task",),
}
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in __all__:
        place = next((module for module, names in _PLACES.items() if name in names), "asiarc.core.proposal")
        return getattr(import_module(place), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
