"""What beats DeltaNet if a training step may take no longer than DeltaNet's?"""

from asiarc import Budget, Campaign, Stage, by_tier

throughput_matched = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "linear_attention", "mamba2"),
    explore=Stage(tasks=("text",), seeds=1),
    verify=Stage(tasks=("text",), seeds=2, top=1),
    confirm=Stage(tasks=("text",), seeds=3),
    at_most={"time": 1.0},
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
