"""Which mixer forgets when it is told to, and still remembers when it is not?"""

from asiarc import Budget, Campaign, Stage, by_tier

forgetting = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2", "retnet"),
    explore=Stage(tasks=("text", "reset"), seeds=1),
    verify=Stage(tasks=("text", "reset", "overwrite"), seeds=2, top=1),
    confirm=Stage(tasks=("text", "reset"), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
