"""The statistics: paired effects, multiplicity, transfer between stages, and the claim register.

`effects` and `claims` are light (no numpy, no scipy until a number is asked for) and re-exported here; the
rest is imported by name. ``python -m asiarc.evidence`` measures the coverage, power and false-discovery rate
of all of them.
"""

from asiarc.evidence.effects import (
    Decision,
    Effect,
    Interval,
    bootstrap_effect,
    decide,
    equivalent,
    mean_interval,
    no_worse,
    paired_effect,
)

__all__ = [
    "Decision",
    "Effect",
    "Interval",
    "bootstrap_effect",
    "decide",
    "equivalent",
    "mean_interval",
    "no_worse",
    "paired_effect",
]
