"""Is there a kernel for the delta rule that is faster than ours and as right?

A candidate is a kernel's file, and a trial one timing beside the shipped kernel, the two in turn, by fresh processes.
The grammar rewrites the shipped algebra; people and agents propose what it cannot say. It needs a machine that does
nothing else: where others are busy, times are "not measured".
"""

from asiarc import Budget, KernelCampaign, by_tier

faster_delta = KernelCampaign(
    operator="delta_rule",
    explore=3,
    verify=5,
    confirm=9,
    top=2,
    open=True,
    arms=("random",),
    budget=by_tier(
        smoke=Budget(candidates=2, minutes=20),
        quick=Budget(candidates=8, minutes=60),
        full=Budget(candidates=96, minutes=480),
    ),
)
