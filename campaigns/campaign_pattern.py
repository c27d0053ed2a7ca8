"""Which order of mixers fills a model best, and does a search find it that random patterns at equal compute do not?"""

from asiarc import Budget, Campaign, Recipe, Stage, by_tier

pattern = Campaign(
    domain="pattern",
    slots=("gated_delta_net", "mamba2", "sliding_window_attention", "softmax_attention", "mlp"),
    start_from="8*gated_delta_net",
    baselines=(
        "8*gated_delta_net",
        "8*softmax_attention",
        "3*gated_delta_net+softmax_attention",
        "7*gated_delta_net+softmax_attention",
        "random_1",
    ),
    recipe=Recipe(num_layers=8, d_model=48),
    explore=Stage(tasks=("mixed:zipf",), seeds=1),
    verify=Stage(tasks=("mixed:zipf",), seeds=2, top=2),
    confirm=Stage(tasks=("mixed:zipf",), seeds=5),
    arms=("random",),
    at_most={"quadratic": 0.25, "flops": 1.5},
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=12, minutes=60)),
)
