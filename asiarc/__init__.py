"""asiarc: pytest for architecture discovery.

A campaign file needs four names: ``from asiarc import Budget, Campaign, Stage, by_tier``.
"""

from asiarc.spec import Budget, ByTier, Campaign, Stage, by_tier

__all__ = ["Budget", "ByTier", "Campaign", "Stage", "by_tier"]
__version__ = "0.1.0"
