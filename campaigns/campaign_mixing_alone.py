"""Without an MLP, is the order of the mixers another one?"""

from asiarc import Budget, Campaign, Recipe, Stage, by_tier

mixing_alone = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2", "linear_attention"),
    recipe=Recipe(mlp_ratio=0.0, num_layers=3),
    match=(),
    explore=Stage(tasks=("text",), seeds=1),
    verify=Stage(tasks=("text",), seeds=2, top=1),
    confirm=Stage(tasks=("text",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
