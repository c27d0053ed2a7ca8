"""The plan's arithmetic against trials whose cost is known."""

from __future__ import annotations

import re

import pytest

from asiarc import Budget, Campaign, Stage, by_tier
from asiarc.campaign.recipe import model_size
from asiarc.core.recipe import GPU_20M, MICRO, PAPER_20M, PAPER_340M, SMALL
from asiarc.evidence.power import power_of
from asiarc.models.memory import Passes, peak_bytes
from asiarc.studies.plan import cpu_s_of, flops_per_token, gpu_h_of, hours_of, memory_line, resolved, size, tokens_of

# forward MFLOPs a token of DeltaNet as `python -m tests.rigs.ladder` counts them from the mixer itself
COUNTED = {MICRO: 0.25, SMALL: 1.66, GPU_20M: 44.37, PAPER_20M: 40.02, PAPER_340M: 773.92}


@pytest.mark.parametrize("recipe", COUNTED, ids=lambda recipe: recipe.name)
def test_flops_are_those_that_are_counted(recipe):
    assert flops_per_token(recipe) == pytest.approx(1e6 * COUNTED[recipe], rel=0.15)


def test_a_trials_time_is_that_of_a_quick_run():
    """474 trials of a quick run and its baselines: 26.5 CPU-seconds for 250 steps on text, 6.7 for 60."""
    assert cpu_s_of([(1, MICRO.at(steps=250))]) == pytest.approx(26.5, rel=0.15)
    assert cpu_s_of([(1, MICRO.at(steps=60))]) == pytest.approx(6.7, rel=0.15)
    assert cpu_s_of([(7, MICRO)]) == pytest.approx(7 * cpu_s_of([(1, MICRO)]))


def test_the_paper_tier_is_told_in_gpu_hours():
    one = [(1, PAPER_20M)]
    by_hand = 3 * 40.02e6 * 2_000 * 256 * 2_048 / (0.4 * 989e12) / 3600
    assert tokens_of(one) == 2_000 * 256 * 2_048
    assert gpu_h_of(one) == pytest.approx(by_hand, rel=0.05)
    assert hours_of(one, "paper") == (gpu_h_of(one), "GPU-hours")
    assert hours_of(one, "full") == (cpu_s_of(one) / 3600, "CPU-hours")


def test_memory_is_that_of_the_hungriest_baseline_and_of_a_named_device(monkeypatch):
    monkeypatch.setenv("ASIARC_DEVICE", "cpu")
    small = Campaign(
        start_from="delta_net", baselines=("delta_net", "kda"), explore=Stage(tasks=("text",), seeds=1),
        budget=by_tier(smoke=Budget(candidates=1, minutes=1)),
    )  # fmt: skip
    trials = [(1, MICRO), (3, SMALL)]
    told = memory_line(small, trials, "full")
    needs = peak_bytes(SMALL, model_size(SMALL, "kda"), Passes(SMALL.batch_size), "kda")
    assert told.startswith(f"a trial of kda takes about {size(needs)} of the sandbox's 8.0 GiB")
    assert "at 16 rows a pass" in told and "again" not in told
    priced = memory_line(small, [(1, PAPER_340M)], "paper")
    rows = int(re.search(r"at (\d+) rows a pass", priced)[1])
    assert "an H100's (assumed)" in priced and 1 <= rows < PAPER_340M.batch_size


def test_one_gpu_brings_the_whole_panel_through_in_an_hour():
    """20 baselines and four survivors on three seeds at 30 % of an H100's 989 TFLOP/s."""
    panel = [(24 * 3, GPU_20M)]
    by_hand = 72 * 1_500 * 32 * 2_048 * 3 * 44.37e6 / (0.3 * 989e12) / 3600
    assert gpu_h_of(panel, "gpu") == pytest.approx(by_hand, rel=0.15)
    assert 0.8 < gpu_h_of(panel, "gpu") < 1 and hours_of(panel, "gpu")[1] == "GPU-hours"


def test_what_seeds_can_tell_is_said_for_all_comparisons():
    seen = Stage(tasks=("text", "reset"), seeds=3, top=2)
    campaign = Campaign(
        start_from="delta_net", baselines=("delta_net", "mamba2"), explore=Stage(tasks=("text",)), verify=seen,
        budget=by_tier(full=Budget(candidates=4, minutes=1)),
    )  # fmt: skip
    found = re.fullmatch(
        r"3 seeds find a gain of ([\d.]+) four times in five, .* 0.02 and widened for 4 comparisons",
        resolved(campaign, "verify", "full"),
    )
    assert power_of(float(found[1]), 0.02, 3, num_comparisons=4) == pytest.approx(0.8, abs=0.01)
    alone = campaign.model_copy(update={"verify": seen.model_copy(update={"seeds": 1})})
    assert resolved(alone, "verify", "full") == "one seed tells no gain from noise"
