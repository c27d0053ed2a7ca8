"""The paper's campaign: from DeltaNet, by the paper's own fitness and pool of parents."""

from asiarc import Budget, Campaign, Stage, by_tier

asi_arch = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    policy="paper",
    explore=Stage(tasks=("mixed:zipf",), seeds=1),
    verify=Stage(tasks=("mixed:zipf", "overwrite", "reset"), seeds=2, top=1),
    confirm=Stage(tasks=("mixed:zipf", "text"), seeds=3),
    budget=by_tier(
        smoke=Budget(candidates=2, minutes=15),
        quick=Budget(candidates=8, minutes=60),
        full=Budget(candidates=160, minutes=480),
    ),
)
