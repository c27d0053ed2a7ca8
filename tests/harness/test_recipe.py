"""A campaign's own recipe: over the tier's, in every stage, price, key and identity; refused where it cannot train."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc import Budget, Campaign, Recipe, Stage, by_tier
from asiarc.campaign.declaration import load_toml, to_toml
from asiarc.campaign.identity import run_identity
from asiarc.campaign.recipe import step_bytes
from asiarc.core.errors import CampaignError
from asiarc.core.recipe import MICRO, TRIAL_MEMORY_BYTES
from asiarc.loop.trials import planned_recipe
from asiarc.studies.plan import stage_trials, tokens_of

from .fakes import Bench, FakeExecutor, campaign

OWN = dict(
    d_model=96, num_layers=3, num_heads=3, mlp_ratio=3.0, seq_len=64, batch_size=8, steps=50, learning_rate=1e-3,
    precision="bfloat16",
)  # fmt: skip


def test_what_is_not_said_is_the_tiers():
    assert campaign().plan("explore", "quick") == campaign(recipe=Recipe()).plan("explore", "quick")
    text = campaign(recipe=Recipe(batch_size=8)).plan("verify", "quick").text
    assert text == MICRO.at(batch_size=8)


def test_steps_are_the_last_rungs_and_the_lower_ones_keep_their_proportion():
    plan = campaign(recipe=Recipe(steps=50)).plan("explore", "full")
    assert plan.rungs == (12, 25, 50), "60, 125 and 250 at a fifth"
    assert campaign(recipe=Recipe(steps=1)).plan("explore", "full").rungs == (1,), "those that fall together are one"


def test_tokens_say_steps_by_the_recipes_own_batch():
    own = Recipe(tokens=10_000, batch_size=4, seq_len=100)
    assert campaign(recipe=own).plan("verify", "quick").rungs == (25,)
    assert campaign(recipe=own.over(Recipe(steps=3))).plan("verify", "quick").rungs == (25,)


def test_a_stage_says_it_over_the_campaign_and_a_tier_for_itself():
    one = campaign(
        recipe=by_tier(quick=Recipe(tokens=4096, batch_size=8)), verify=Stage(tasks=("text",), recipe=Recipe(steps=7))
    )
    assert one.plan("verify", "quick").text.batch_size == 8 and one.plan("verify", "quick").rungs == (7,)
    assert one.plan("explore", "smoke").said == (), "smoke says nothing"
    verified = campaign(verify=Stage(tasks=("text",), seeds=2, recipe=Recipe(steps=7)), confirm=None)
    assert verified.plan("confirm", "quick").rungs == (7,), "confirm is as verify where it is not given"


def test_a_synthetic_task_takes_what_is_said_but_for_the_length():
    plan = campaign(recipe=Recipe(**OWN)).plan("explore", "full")
    found = planned_recipe("overwrite", plan, plan.rungs[-1])
    own = planned_recipe("overwrite", campaign().plan("explore", "full"), 250)
    assert {name: getattr(found, name) for name in OWN if name != "seq_len"} == {
        name: value for name, value in OWN.items() if name != "seq_len"
    }
    assert found.seq_len == own.seq_len
    assert planned_recipe("overwrite", plan, plan.rungs[0]).steps == 12, "in proportion on a lower rung"
    by_tokens = campaign(recipe=Recipe(tokens=own.seq_len * 640)).plan("verify", "quick")
    assert planned_recipe("overwrite", by_tokens, by_tokens.rungs[-1]).steps == 640 / own.batch_size


def test_the_plan_prices_it():
    small = campaign(recipe=Recipe(steps=10, batch_size=4, seq_len=16))
    for stage in ("explore", "verify", "confirm"):
        text = [(n, r) for n, r in stage_trials(small, stage, "quick") if r.seq_len == 16]
        assert tokens_of(text) < tokens_of(stage_trials(campaign(), stage, "quick")) / 50


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "misspelt": (dict(d_modle=64), ["unknown field of Recipe 'd_modle'", "Did you mean 'd_model'?"]),
    "two lengths": (dict(steps=3, tokens=9), ["both say how long"]),
    "precision": (dict(precision="float16"), ["'float32' or 'bfloat16'"]),
    "heads": (dict(num_heads=5), ["num_heads=5 does not divide d_model=64", "num_heads=4, or d_model=65"]),
    "no mlp": (dict(mlp_ratio=0), ["leaves no MLP", "mlp_ratio=1", "match=()"]),
    "no room": (dict(mlp_ratio=0.02), ["no width of the MLP brings kda", "to the size of delta_net", "within 2%"]),
    "rows": (
        dict(batch_size=8192, micro_batch=8192),
        ["a trial of kda takes about", "GiB at 8192 rows a pass, the sandbox gives it 8", "micro_batch="],
    ),
    "length": (dict(seq_len=1_000_000), ["at 1 rows a pass", "the nearest that fits: seq_len="]),
    "width": (dict(d_model=16_384), ["the nearest that fits: d_model="]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_refused_with_the_nearest_that_can(case):
    said, words = REFUSED[case]
    with pytest.raises(CampaignError) as caught:
        campaign(recipe=said, baselines=("delta_net", "kda"), confirm=None)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    if case not in ("misspelt", "two lengths", "precision"):
        assert caught.value.field == "recipe" and str(caught.value).startswith(
            "Campaign.recipe: explore at tier smoke: "
        )


NEAREST = {
    "heads": [r"(num_heads)=(\d+), or", r"or (d_model)=(\d+)"],
    "no mlp": [r"(mlp_ratio)=(1),"],
    "no room": [r"nearest (mlp_ratio) at which one does: ([\d.]+)"],
    "rows": [r"fits: (micro_batch)=(\d+)"],
    "length": [r"fits: (seq_len)=(\d+)"],
    "width": [r"fits: (d_model)=(\d+)"],
}


@pytest.mark.parametrize(("case", "pattern"), [(case, one) for case in NEAREST for one in NEAREST[case]])
def test_the_nearest_that_is_named_is_taken(case, pattern):
    said, _ = REFUSED[case]
    with pytest.raises(CampaignError) as caught:
        campaign(recipe=said, baselines=("delta_net", "kda"))
    name, value = re.search(pattern, str(caught.value)).groups()
    small = {"micro_batch": 1} if name == "d_model" and case == "width" else {}
    mended = said | {name: float(value) if "." in value else int(value)} | small
    campaign(recipe=mended, baselines=("delta_net", "kda"))


@settings(max_examples=40)
@given(
    st.integers(1, 64).map(lambda n: 16 * n), st.integers(1, 40), st.integers(1, 2048), st.integers(8, 4096)
)  # fmt: skip
def test_what_is_named_for_memory_fits(width, layers, rows, length):
    said = Recipe(
        d_model=width, num_layers=layers, num_heads=1, batch_size=2048, micro_batch=rows, seq_len=length, mlp_ratio=8
    )

    def asked(recipe):
        campaign(
            recipe=recipe, baselines=("delta_net",), explore=Stage(tasks=("text",)), verify=None, confirm=None
        )  # fmt: skip

    try:
        asked(said)
    except CampaignError as error:
        named = re.findall(r"(\w+)=(\d+)", str(error).partition("fits: ")[2])
        assert named and step_bytes(MICRO.at(**said.said), "delta_net") > TRIAL_MEMORY_BYTES
        asked(Recipe(**said.said | {"micro_batch": 1} | {name: int(value) for name, value in named}))
    else:
        assert step_bytes(MICRO.at(**said.said), "delta_net") <= TRIAL_MEMORY_BYTES


def test_a_batch_of_any_size_is_taken_in_passes():
    campaign(recipe=Recipe(batch_size=60_000))


def test_a_length_without_a_text_is_refused_where_it_is_said():
    with pytest.raises(CampaignError, match=r"none of overwrite is text.*a level \(overwrite:hard\)") as caught:
        campaign(explore=Stage(tasks=("overwrite",), recipe=Recipe(seq_len=64)))
    assert caught.value.field == "explore"
    campaign(recipe=Recipe(seq_len=64), explore=Stage(tasks=("overwrite",)))  # the text is in verify


def test_a_length_beyond_a_text_of_ones_own_is_refused_at_collection(pytester):
    (pytester.path / "book.txt").write_text("a short book\n" * 9)
    declared = campaign(explore=Stage(tasks=("text:book.txt",), recipe=Recipe(seq_len=128)), verify=None, confirm=None)
    with pytest.raises(CampaignError, match=r"text:book\.txt has 117 bytes, fewer than seq_len=128; give at most 117"):
        declared.at(pytester.path, build=False)


def test_what_is_no_recipe_is_refused():
    with pytest.raises(CampaignError, match=r"Campaign\.recipe: a recipe is Recipe\(d_model=\.\.\.\) or by_tier\("):
        campaign(recipe=3)


@pytest.mark.parametrize("suffix", ["py", "toml"])
def test_the_error_stands_at_its_line(pytester, suffix):
    campaign_file = campaign(recipe=by_tier(quick=Recipe(steps=5)), verify=None, confirm=None)
    lines = to_toml(campaign_file).replace("steps = 5", "step = 5").splitlines()
    number = 1 + next(i for i, line in enumerate(lines) if line.startswith("step "))
    text = "\n".join(lines)
    if suffix == "py":
        number, text = (
            4,
            (
                "from asiarc import *\n"
                "q = Campaign(start_from='delta_net', baselines=('delta_net',), explore=Stage(tasks=('text',)),\n"
                "    budget=by_tier(quick=Budget(candidates=1, minutes=1)),\n"
                "    recipe=Recipe(num_heads=5))\n"
            ),
        )
    file = pytester.path / f"campaign_q.{suffix}"
    file.write_text(text)
    result = pytester.runpytest(file, "--collect-only")
    result.stdout.fnmatch_lines([f"*campaign_q.{suffix}:{number}: *"])
    assert result.ret == 2


# --- in keys, identity and what is run --------------------------------------------------------------------------------


def test_every_field_moves_the_identity_at_its_own_tier_only():
    def identity(recipe, tier="quick"):
        return run_identity(campaign(recipe=recipe, match=()), "q", tier)

    plain = identity(None)
    others = {"num_heads": 4, "d_model": 32}
    for name, value in OWN.items():
        moved = identity(by_tier(quick=Recipe(**{name: others.get(name, value)})))
        assert moved != plain, name
        assert identity(by_tier(smoke=Recipe(**{name: others.get(name, value)}))) == plain, name


def test_admission_and_trials_are_at_its_sizes(tmp_path):
    executor = FakeExecutor()
    own = campaign(recipe=Recipe(**OWN), verify=Stage(tasks=("text",), seeds=2, top=1, recipe=Recipe(d_model=48)))
    Bench(own, tmp_path).run(executor)
    admitted = {(job.payload["recipe"]["d_model"], job.payload["recipe"]["num_heads"]) for job in executor.jobs
                if job.function.endswith(":admission")}  # fmt: skip
    assert admitted == {(96, 3), (48, 3)}, "every size that is trained"
    trained = {(t["seed"].split("/")[1], t["recipe"]["d_model"], t["recipe"]["precision"]) for t in executor.trials}
    assert trained == {("explore", 96, "bfloat16"), ("verify", 48, "bfloat16"), ("confirm", 96, "bfloat16")}


def test_without_sizes_candidates_are_examined_at_the_micro_size(tmp_path):
    executor = FakeExecutor()
    Bench(campaign(recipe=Recipe(steps=9), verify=None, confirm=None), tmp_path).run(executor)
    assert {job.payload["recipe"]["d_model"] for job in executor.jobs if job.function.endswith(":admission")} == {64}


def test_a_recipe_that_says_what_the_tier_has_trains_nothing_again(tmp_path):
    small = dict(verify=None, confirm=None, budget=by_tier(quick=Budget(candidates=2, minutes=60)))
    Bench(campaign(**small), tmp_path).run(FakeExecutor())
    executor = FakeExecutor()
    Bench(campaign(recipe=Recipe(precision="float32"), **small), tmp_path).run(executor)
    assert not executor.trials, "float32 is what a CPU computes in"


def test_toml_says_it_too(tmp_path):
    one = campaign(recipe=by_tier(smoke=Recipe(**OWN)), verify=Stage(tasks=("text",), recipe=Recipe(tokens=9)))
    (tmp_path / "campaign_q.toml").write_text(to_toml(one))
    assert load_toml(tmp_path / "campaign_q.toml") == one
    assert isinstance(one, Campaign) and "[recipe.smoke]" in to_toml(one) and "[verify.recipe]" in to_toml(one)
