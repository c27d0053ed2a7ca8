"""Does the search get ahead of the strongest baseline when it starts from it?"""

from asiarc import Budget, Campaign, Stage, by_tier

from_the_best = Campaign(
    start_from="mamba2",
    baselines=("mamba2", "gated_delta_net", "delta_net"),
    explore=Stage(tasks=("text", "overwrite"), seeds=1),
    verify=Stage(tasks=("text", "overwrite"), seeds=2, top=1),
    confirm=Stage(tasks=("text",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
