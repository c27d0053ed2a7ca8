"""Which mixer recalls most with a state no larger than DeltaNet's?"""

from asiarc import Budget, Campaign, Stage, by_tier

recall_fixed_state = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2"),
    explore=Stage(tasks=("text", "recall"), seeds=1),
    verify=Stage(tasks=("text", "recall", "recall:hard"), seeds=2, top=1),
    confirm=Stage(tasks=("text", "recall"), seeds=3),
    at_most={"state_bytes": 1.0},
    budget=by_tier(smoke=Budget(candidates=2, minutes=15), quick=Budget(candidates=8, minutes=60)),
)


def test_no_state_is_larger(outcome):
    assert outcome.winner.measures["state_bytes"] <= outcome.baseline("delta_net").measures["state_bytes"]
