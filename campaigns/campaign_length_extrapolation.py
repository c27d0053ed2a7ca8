"""Trained on 128 bytes, read over 1,024: whose loss still falls along the text?"""

from asiarc import Budget, Campaign, Stage, by_tier

length_extrapolation = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    explore=Stage(tasks=("text",), seeds=1),
    verify=Stage(tasks=("text", "text:read-1024"), seeds=2, top=1),
    confirm=Stage(tasks=("text:read-1024",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
