"""Does a memory beside a window of attention, half the heads each, beat either published form alone?"""

from asiarc import Budget, Campaign, Stage, by_tier

hybrid = Campaign(
    start_from="mixers/delta_and_window.py",
    baselines=("mixers/delta_and_window.py", "delta_net", "gated_delta_net", "softmax_attention"),
    explore=Stage(tasks=("text", "recall"), seeds=1),
    verify=Stage(tasks=("text", "recall"), seeds=2, top=1),
    confirm=Stage(tasks=("text",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)
