"""Does one wide head do what many narrow ones do?"""

from asiarc import Budget, Campaign, Recipe, Stage, by_tier

one_head = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    recipe=Recipe(num_heads=1),
    explore=Stage(tasks=("text", "overwrite"), seeds=1),
    verify=Stage(tasks=("text", "overwrite"), seeds=2, top=1),
    confirm=Stage(tasks=("text",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
