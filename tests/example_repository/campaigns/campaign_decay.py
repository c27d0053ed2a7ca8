"""Does a mixer evolved from linear attention learn to overwrite?"""

from asiarc import Budget, Campaign, Stage, by_tier

overwriting = Campaign(
    start_from="linear_attention",
    baselines=("linear_attention", "delta_net"),
    explore=Stage(tasks=("text", "overwrite")),
    budget=by_tier(smoke=Budget(candidates=4, minutes=5)),
)


def test_something_was_scored(outcome):
    assert outcome.evaluated > 0
