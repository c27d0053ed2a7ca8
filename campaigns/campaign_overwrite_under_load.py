"""Which mixer still overwrites when there are many keys and many writes?"""

from asiarc import Budget, Campaign, Stage, by_tier

overwrite_under_load = Campaign(
    start_from="linear_attention",
    baselines=("linear_attention", "delta_net", "gated_delta_net", "mamba2"),
    explore=Stage(tasks=("text", "overwrite"), seeds=1),
    verify=Stage(tasks=("text", "overwrite", "overwrite:hard"), seeds=2, top=1),
    confirm=Stage(tasks=("text", "overwrite:hard"), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
