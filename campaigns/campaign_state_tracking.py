"""Does the search find what tracks a state (parity, permutations) without being told of negative eigenvalues?"""

from asiarc import Budget, Campaign, Stage, by_tier

state_tracking = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    explore=Stage(tasks=("text", "parity"), seeds=1),
    verify=Stage(tasks=("text", "parity", "s3:swaps"), seeds=2, top=1),
    confirm=Stage(tasks=("text", "parity"), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
