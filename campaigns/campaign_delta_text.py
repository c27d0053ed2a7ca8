"""Can an evolved mixer beat DeltaNet at what a text asks it to remember, and keep what the delta rule is good at?"""

import pytest

from asiarc import Budget, Campaign, Stage, by_tier

delta_text = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "gated_delta_net", "mamba2", "linear_attention"),
    researcher="grammar",
    explore=Stage(tasks=("mixed:zipf",), seeds=2, learning_rates=(8e-3, 16e-3)),
    verify=Stage(tasks=("mixed:zipf", "overwrite", "reset"), seeds=3, top=2),
    confirm=Stage(tasks=("mixed:zipf",), seeds=7),
    match=("parameters",),
    at_most={"state_bytes": 2.0, "flops": 2.0},
    budget=by_tier(
        smoke=Budget(candidates=4, minutes=15),
        quick=Budget(candidates=16, minutes=60),
        full=Budget(candidates=160, minutes=480),
        gpu=Budget(candidates=24, minutes=240),
        paper=Budget(candidates=1_773, minutes=1_200_000),
    ),
    seed=1,
)


def test_budget_was_used(outcome, tier):
    evaluated = {"smoke": 2, "quick": 12, "full": 120, "gpu": 16, "paper": 1_500}[tier]
    assert outcome.evaluated >= evaluated, f"only {outcome.evaluated} candidates were scored"


@pytest.mark.tier("quick")
@pytest.mark.claim("C29")
def test_winner_is_not_behind_delta_net(outcome):
    gain = outcome.winner.gain_over("delta_net")  # whether it is ahead is the claim's own verdict
    assert gain.high > 0, gain.explain()
