"""What does the paper's campaign find from DeltaNet, at one rate, with our gates, policy and evidence?"""

from asiarc import Budget, Campaign, Stage, by_tier

asi_arch = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    explore=Stage(tasks=("mixed:zipf",), seeds=1),
    verify=Stage(tasks=("mixed:zipf", "overwrite", "reset"), seeds=2, top=2, learning_rates=(8e-3, 16e-3)),
    confirm=Stage(tasks=("mixed:zipf", "text"), seeds=3),
    budget=by_tier(
        smoke=Budget(candidates=2, minutes=15),
        quick=Budget(candidates=8, minutes=60),
        full=Budget(candidates=1_773, minutes=720),
    ),
)
