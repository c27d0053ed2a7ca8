"""Which mixer reads this project's own documentation best?"""

from asiarc import Budget, Campaign, Stage, by_tier

own_corpus = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    explore=Stage(tasks=("text:../docs",), seeds=1),
    verify=Stage(tasks=("text:../docs", "text"), seeds=2, top=1),
    confirm=Stage(tasks=("text",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
