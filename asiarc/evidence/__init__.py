"""The statistics: paired effects, power, false discoveries, transfer between stages, and the claim register.

`effects` and `claims` are light (no numpy, no scipy until a number is asked for) and re-exported here; the
rest is imported by name. Coverage, power and false-discovery rate of all of them are measured by simulation.
"""

from asiarc.evidence.claims import (
    VERDICTS,
    Claim,
    Verdict,
    cap_verdict,
    check_snapshot,
    decides,
    load_register,
    mark_of,
    reach_verdict,
    record_snapshot,
)
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
    "VERDICTS",
    "Claim",
    "Decision",
    "Effect",
    "Interval",
    "Verdict",
    "bootstrap_effect",
    "cap_verdict",
    "check_snapshot",
    "decide",
    "decides",
    "equivalent",
    "load_register",
    "mark_of",
    "mean_interval",
    "no_worse",
    "paired_effect",
    "reach_verdict",
    "record_snapshot",
]
