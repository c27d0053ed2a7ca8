"""What does the paper's campaign find from DeltaNet, at one rate, with our gates, policy and evidence?

Beside it, at equal compute and at full only: the same campaign with proposals drawn at random, and with the paper's own
policy.
"""

from asiarc import Budget, Campaign, Stage, by_tier

asi_arch = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    explore=Stage(tasks=("mixed:zipf",), seeds=1),
    verify=Stage(tasks=("mixed:zipf", "overwrite", "reset"), seeds=3, top=2, learning_rates=(4e-3, 8e-3, 16e-3)),
    confirm=Stage(tasks=("mixed:zipf", "text"), seeds=9),
    budget=by_tier(
        smoke=Budget(candidates=2, minutes=15),
        quick=Budget(candidates=8, minutes=60),
        full=Budget(candidates=1_773, minutes=720),
    ),
)
AT_FULL = by_tier(full=Budget(candidates=1_773, minutes=720))
asi_arch_random = asi_arch.model_copy(update={"researcher": "random", "budget": AT_FULL})
asi_arch_paper = asi_arch.model_copy(update={"policy": "paper", "budget": AT_FULL})
