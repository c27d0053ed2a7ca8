"""Which mixer finds a pair again in a stream that has noise in it?"""

from asiarc import Budget, Campaign, Stage, by_tier

in_context_recall = Campaign(
    start_from="gated_delta_net",
    baselines=("gated_delta_net", "delta_net", "mamba2"),
    explore=Stage(tasks=("text", "in_context_recall"), seeds=1),
    verify=Stage(tasks=("text", "in_context_recall", "in_context_recall:noisy"), seeds=2, top=1),
    confirm=Stage(tasks=("text", "in_context_recall"), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
