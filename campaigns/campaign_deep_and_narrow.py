"""At equal size, does depth change which mixer is ahead?"""

from asiarc import Budget, Campaign, Recipe, Stage, by_tier

deep_and_narrow = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    recipe=Recipe(d_model=48, num_layers=4),
    explore=Stage(tasks=("text",), seeds=1),
    verify=Stage(tasks=("text",), seeds=2, top=1),
    confirm=Stage(tasks=("text",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
