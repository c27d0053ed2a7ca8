"""A declaration that cannot be run is refused where it is written, with the nearest valid choice."""

from __future__ import annotations

import re
from textwrap import dedent

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc import Budget, ByTier, Campaign, Stage, by_tier
from asiarc.campaign.declaration import Declaration, load_toml, to_toml
from asiarc.core.errors import CampaignError
from asiarc.core.recipe import TIERS

from .declarations import campaigns
from .fakes import Writer, campaign

PYTHON = '''\
"""A question."""
from asiarc import Budget, Campaign, Stage, by_tier

question = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "mamba2"),
    explore=Stage(
        tasks=("text", "overwrite"),
        seeds=2,
    ),
    verify=Stage(tasks=("text",), seeds=3, top=2),
    confirm=Stage(tasks=("text",), seeds=5),
    researcher="grammar",
    policy="halving",
    match=("parameters",),
    at_most={"flops": 1.5},
    budget=by_tier(
        smoke=Budget(candidates=4, minutes=5),
        quick=Budget(candidates=8, minutes=5),
    ),
    seed=0,
)
'''
TOML = """\
start_from = "delta_net"
baselines = ["delta_net", "mamba2"]
researcher = "grammar"
policy = "halving"
match = ["parameters"]
seed = 0

[explore]
tasks = ["text", "overwrite"]
seeds = 2

[verify]
tasks = ["text"]
seeds = 3
top = 2

[confirm]
tasks = ["text"]

[at_most]
flops = 1.5

[budget.smoke]
candidates = 4
minutes = 5

[budget.quick]
candidates = 8
minutes = 5
"""

# (what is written, what is written instead, what the message says); the line is that of the replacement's last line.
MISTAKES = {
    "misspelt_field": ("    seed=0,", "    sead=0,", "unknown field of Campaign 'sead'. Did you mean 'seed'?"),
    "misspelt_in_stage": (
        "        seeds=2,", "        seads=2,", "unknown field of Stage 'seads'. Did you mean 'seeds'?",
    ),
    "misspelt_in_budget": ("smoke=Budget(candidates=4", "smoke=Budget(candidate=4", "Did you mean 'candidates'?"),
    "misspelt_tier": (
        "        quick=Budget", "        qick=Budget", "unknown field of ByTier 'qick'. Did you mean 'quick'?",
    ),
    "unknown_task": (
        'tasks=("text", "overwrite")', 'tasks=("text", "overwrit")', "'overwrit'. Did you mean 'overwrite'?",
    ),
    "task_of_verify": ('verify=Stage(tasks=("text",)', 'verify=Stage(tasks=("txt",)', "'txt'. Did you mean 'text'?"),
    "unknown_level": ('"overwrite")', '"overwrite:hrad")', "level of task 'overwrite': 'hrad'. Did you mean 'hard'?"),
    "duplicate_task": ('("text", "overwrite")', '("text", "text")', "a task is named twice: text, text"),
    "no_task": ('tasks=("text", "overwrite")', "tasks=()", "Stage.tasks"),
    "no_seeds": ("        seeds=2", "        seeds=0", "greater than or equal to 1 (given: 0)"),
    "too_many_seeds": ("        seeds=2", "        seeds=65", "less than or equal to 64 (given: 65)"),
    "unknown_baseline": (
        'baselines=("delta_net", "mamba2")', 'baselines=("delta_net", "mamba_2")', "Did you mean 'mamba2'?",
    ),
    "duplicate_baseline": ('baselines=("delta_net", "mamba2")', 'baselines=("delta_net", "delta_net")', "named twice"),
    "unknown_start": ('start_from="delta_net"', 'start_from="deltanet"', "Did you mean 'delta_net'?"),
    "quadratic_start": (
        'start_from="delta_net"', 'start_from="softmax_attention"', "never a parent; start from one of",
    ),
    "unknown_researcher": (
        'researcher="grammar"', 'researcher="gramar"', "Did you mean 'grammar'? Valid: grammar, llm, open, random",
    ),
    "object_without_propose": (
        'researcher="grammar"', "researcher=object()", "has a method propose(context), object has none",
    ),
    "class_for_object": ('researcher="grammar"', "researcher=dict", "dict is a class; pass an object of it: dict()"),
    "unknown_policy": ('policy="halving"', 'policy="halve"', "Did you mean 'halving'?"),
    "unknown_match": ('match=("parameters",)', 'match=("parameter",)', "Did you mean 'parameters'?"),
    "unknown_resource": ('at_most={"flops": 1.5}', 'at_most={"flop": 1.5}', "Did you mean 'flops'?"),
    "cap_under_one": ('at_most={"flops": 1.5}', 'at_most={"flops": 0.5}', "would refuse start_from itself"),
    "cap_of_nothing": ('at_most={"flops": 1.5}', 'at_most={"flops": float("nan")}', "finite"),
    "negative_seed": ("    seed=0", "    seed=-1", "greater than or equal to 0"),
    "no_candidates": ("quick=Budget(candidates=8", "quick=Budget(candidates=0", "Budget.candidates"),
    "no_minutes": ("smoke=Budget(candidates=4, minutes=5)", "smoke=Budget(candidates=4, minutes=0)", "Budget.minutes"),
    "endless_minutes": ("candidates=4, minutes=5)", 'candidates=4, minutes=float("inf"))', "Budget.minutes"),
    "negative_usd": ("smoke=Budget(candidates=4", "smoke=Budget(usd=-1, candidates=4", "Budget.usd"),
}  # fmt: skip
# Mistakes of the whole: told at the line where the campaign begins.
WHOLE = {
    "start_missing": (
        'baselines=("delta_net", "mamba2")', 'baselines=("gated_delta_net", "mamba2")',
        "start_from='delta_net' is missing from baselines", "Did you mean start_from='gated_delta_net'?",
    ),
    "confirm_alone": ("    verify=Stage(tasks=(\"text\",), seeds=3, top=2),\n", "", "confirm without verify"),
    "top_in_explore": ("        seeds=2,", "        seeds=2, top=3,", "which belongs to verify"),
    "rates_in_confirm": ("seeds=5)", "seeds=5, learning_rates=(1e-3,))", "confirm was given learning_rates"),
    "top_in_confirm": ("seeds=5)", "seeds=5, top=2)", "confirm was given top"),
    "start_not_given": (
        '    start_from="delta_net",\n', "", "Campaign needs the field 'start_from': the baseline whose",
    ),
}  # fmt: skip


def collect(pytester, name, text):
    """The lines of a collection that must fail, which is exit code 2, and nothing may have been run."""
    pytester.path.joinpath(name).write_text(text)
    result = pytester.runpytest_inprocess(name, "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1)
    return str(result.stdout)


def line_of(text, part):
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_at_its_line(pytester, mistake):
    old, new, message = MISTAKES[mistake]
    assert PYTHON.count(old) == 1
    text = PYTHON.replace(old, new)
    said = collect(pytester, "campaign_question.py", text)
    assert f"campaign_question.py:{line_of(text, new.strip())}: " in said
    assert message in " ".join(said.split())
    assert "Traceback" not in said and "pydantic" not in said


@pytest.mark.parametrize("mistake", WHOLE)
def test_an_impossible_mix_is_told_where_the_campaign_begins(pytester, mistake):
    old, new, *messages = WHOLE[mistake]
    assert PYTHON.count(old) == 1
    said = collect(pytester, "campaign_question.py", PYTHON.replace(old, new))
    assert "campaign_question.py:4: " in said
    assert all(message in " ".join(said.split()) for message in messages)


def test_an_empty_budget_is_told_at_its_line(pytester):
    text = re.sub(r"by_tier\(.*?\n    \)", "by_tier()", PYTHON, flags=re.DOTALL)
    said = collect(pytester, "campaign_question.py", text)
    assert f"campaign_question.py:{line_of(text, 'budget=')}: " in said
    assert "an empty budget runs nothing; name at least one tier of smoke, quick, full, gpu, paper" in said


@pytest.mark.parametrize(("name", "text"), [("py", PYTHON), ("toml", TOML)])
def test_a_campaign_without_the_tier_is_left_out_and_says_which_it_has(pytester, name, text):
    pytester.path.joinpath(f"campaign_question.{name}").write_text(text)
    pytester.path.joinpath("test_other.py").write_text("def test_other(): pass")
    result = pytester.runpytest_inprocess("--tier", "full")
    result.assert_outcomes(passed=1, deselected=3)
    line = f"deselected campaign_question.{name}::question: no budget for tier 'full'; this campaign declares: "
    line += "smoke, quick"
    assert result.outlines.count(line) == 1


def test_several_mistakes_are_counted(pytester):
    text = PYTHON.replace("    seed=0", "    seed=-1").replace('policy="halving"', 'policy="halve"')
    assert "(1 more after this one)" in collect(pytester, "campaign_question.py", text)


def test_another_error_in_a_campaign_file_is_pytests_own(pytester):
    said = collect(pytester, "campaign_question.py", PYTHON + "\n1 / 0\n")
    assert "ZeroDivisionError" in said


TOML_MISTAKES = {
    "misspelt_field": ("seed = 0", "sead = 0", "unknown field of Campaign 'sead'. Did you mean 'seed'?"),
    "misspelt_in_stage": ("seeds = 2", "seads = 2", "unknown field of Stage 'seads'"),
    "task_of_verify": ('[verify]\ntasks = ["text"]', '[verify]\ntasks = ["txt"]', "Did you mean 'text'?"),
    "seeds_of_verify": ("seeds = 3", "seeds = 0", "greater than or equal to 1"),
    "misspelt_table": ("[confirm]", "[confrim]", "unknown field of Campaign 'confrim'. Did you mean 'confirm'?"),
    "misspelt_tier": ("[budget.quick]", "[budget.qick]", "unknown field of ByTier 'qick'. Did you mean 'quick'?"),
    "no_candidates": ("candidates = 8", "candidates = 0", "Budget.candidates"),
    "minutes_missing": (
        "[budget.quick]\ncandidates = 8\nminutes = 5", "[budget.quick]\ncandidates = 8", "needs the field",
    ),
    "unknown_resource": ("[at_most]\nflops = 1.5", "[at_most]\nflop = 1.5", "Did you mean 'flops'?"),
    "endless_minutes": ("candidates = 8\nminutes = 5", "candidates = 8\nminutes = inf", "Budget.minutes"),
    "no_toml": ("top = 2", "top = two", "not TOML: "),
    "stage_is_no_table": (
        'seed = 0\n\n[explore]\ntasks = ["text", "overwrite"]\nseeds = 2', "explore = 3\nseed = 0", "Campaign.explore",
    ),
}  # fmt: skip
AT_THEIR_TABLE = {"minutes_missing", "unknown_resource", "stage_is_no_table"}  # their first line, not their last


@pytest.mark.parametrize("mistake", TOML_MISTAKES)
def test_a_mistake_in_toml_is_told_at_its_line(pytester, mistake):
    old, new, message = TOML_MISTAKES[mistake]
    assert TOML.count(old) == 1
    text = TOML.replace(old, new)
    line = line_of(text, new) + (0 if mistake in AT_THEIR_TABLE else new.count("\n"))
    said = collect(pytester, "campaign_question.toml", text)
    assert f"campaign_question.toml:{line}: " in said
    assert message in " ".join(said.split())


def test_toml_that_is_not_text(pytester):
    pytester.path.joinpath("campaign_question.toml").write_bytes(b"seed = \xff\xfe")
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*campaign_question.toml:1: not TOML:*"])


# --- the model --------------------------------------------------------------------------------------------------------


def test_both_ways_of_writing_mean_the_same(tmp_path):
    file = tmp_path / "campaign_question.toml"
    file.write_text(TOML)
    scope: dict = {}
    exec(PYTHON.replace('confirm=Stage(tasks=("text",), seeds=5)', 'confirm=Stage(tasks=("text",))'), scope)
    assert load_toml(file) == scope["question"]


@settings(max_examples=150)
@given(campaigns())
def test_toml_gives_the_campaign_back(tmp_path_factory, campaign):
    file = tmp_path_factory.getbasetemp() / "campaign_drawn.toml"
    file.write_text(to_toml(campaign), encoding="utf-8")
    assert load_toml(file) == campaign
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # as some editors save it
    assert load_toml(file) == campaign


@settings(max_examples=40)
@given(campaigns(), st.sampled_from(TIERS))
def test_what_is_resolved_is_plain_data_with_every_field(campaign, tier):
    import json

    if tier not in campaign.budget.tiers:
        with pytest.raises(CampaignError, match="no budget for tier"):
            campaign.resolved(tier)
        return
    resolved = campaign.resolved(tier)
    assert json.loads(json.dumps(resolved)) == resolved
    assert resolved.keys() == set(Campaign.model_fields) - {"budget", "domain", "slots", "open"} | {"candidates"}
    assert resolved["candidates"] == campaign.budget.at(tier).candidates


def test_a_researcher_that_is_an_object_stays_python():
    with pytest.raises(CampaignError, match="name one instead"):
        to_toml(campaign(researcher=Writer([])))


@pytest.mark.parametrize("model", [Campaign, Stage, Budget, ByTier])
def test_declarations_are_frozen_and_closed(model):
    assert issubclass(model, Declaration)
    assert model.model_config["frozen"] and model.model_config["extra"] == "forbid"
    assert all(field.description for field in model.model_fields.values() if model is not ByTier)


def test_nothing_can_be_changed_afterwards():
    question = campaign()
    for change in (
        lambda: setattr(question, "seed", 1),
        lambda: setattr(question.explore, "seeds", 9),
        lambda: setattr(question.budget.smoke, "minutes", 9),
        lambda: delattr(question, "seed"),
    ):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            change()
    caps = {"flops": 2.0}
    question = campaign(at_most=caps)
    caps["flops"] = 9.0
    assert question.at_most == {"flops": 2.0}


def test_confirm_is_verify_once_more_where_it_is_not_declared():
    question = campaign(verify=Stage(tasks=("text",), seeds=7, top=2, learning_rates=(1e-3, 2e-3)), confirm=None)
    assert question.stages == ("explore", "verify", "confirm")
    assert question.stage("confirm") == Stage(tasks=("text",), seeds=7)
    assert campaign(verify=None, confirm=None).stages == ("explore",)


def test_by_tier_names_its_tiers():
    budget = by_tier(quick=Budget(candidates=3, minutes=1))
    assert budget.tiers == ("quick",) and budget.at("quick").candidates == 3


def test_the_example_here_is_what_the_readme_would_accept(pytester):
    """The texts that the mistakes are made in are themselves without one."""
    pytester.path.joinpath("campaign_question.py").write_text(dedent(PYTHON))
    pytester.path.joinpath("campaign_other.toml").write_text(TOML)
    result = pytester.runpytest_inprocess("--collect-only", "-q")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["6 tests collected*"])
