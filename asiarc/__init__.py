"""asiarc: pytest for architecture discovery.

A campaign file needs four names: ``from asiarc import Budget, Campaign, Stage, by_tier``. They are imported when first
asked for, so that kernels, models and the trainer run where pydantic is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asiarc.campaign.declaration import Budget, ByTier, Campaign, Models, Stage, by_tier
    from asiarc.campaign.recipe import Recipe

__all__ = ["Budget", "ByTier", "Campaign", "Models", "Recipe", "Stage", "by_tier"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in __all__:
        from asiarc.campaign import declaration as spec

        return getattr(spec, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
