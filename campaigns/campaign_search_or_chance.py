"""Is the loop's winner better than random search's and best-of-n's, at equal compute?"""

from asiarc import Budget, Campaign, Stage, by_tier

search_or_chance = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "mamba2"),
    explore=Stage(tasks=("text",), seeds=1),
    verify=Stage(tasks=("text",), seeds=2, top=1),
    confirm=Stage(tasks=("text",), seeds=3),
    arms=("random", "best_of_n"),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
