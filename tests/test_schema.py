"""The exported JSON Schema is the one the code gives, and judges a TOML campaign as the model does."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings

import asiarc
from asiarc.campaign.declaration import Campaign, json_schema, load_toml, to_toml
from asiarc.core.errors import CampaignError

from .harness.declarations import campaigns

SCHEMA = json_schema()
VALID = {
    "start_from": "delta_net",
    "baselines": ["delta_net", "mamba2"],
    "explore": {"tasks": ["text", "overwrite:hard"], "seeds": 2},
    "verify": {"tasks": ["text"], "seeds": 3, "top": 2, "learning_rates": [1e-3, 3e-3]},
    "confirm": {"tasks": ["text"], "seeds": 5},
    "researcher": "random",
    "policy": "paper",
    "match": [],
    "at_most": {"flops": 1.5},
    "budget": {"smoke": {"candidates": 4, "minutes": 1}, "paper": {"candidates": 9, "minutes": 2.5, "usd": 1}},
    "seed": 3,
}


def test_the_exported_schema_is_current():
    exported = Path(asiarc.__file__).with_name("campaign.schema.json").read_text()
    assert exported == json.dumps(SCHEMA, indent=1) + "\n", "run: asiarc schema > asiarc/campaign.schema.json"


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def judgements(data):
    """(schema's, model's) on the same data."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    try:
        Campaign(**data)
    except CampaignError:
        return validator.is_valid(data), False
    return validator.is_valid(data), True


@settings(max_examples=60)
@given(campaigns())
def test_it_accepts_what_the_model_accepts(campaign):
    jsonschema.validate(tomllib.loads(to_toml(campaign)), SCHEMA)


def changed(path, value):
    """The valid campaign with one value changed."""
    data = json.loads(json.dumps(VALID))
    *folders, name = path.split(".")
    place = data
    for folder in folders:
        place = place[folder]
    if value is None:
        del place[name]
    else:
        place[name] = value
    return data


def test_the_unchanged_one_is_accepted_by_both():
    assert judgements(VALID) == (True, True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sead", 0), ("explore.seads", 2), ("budget.smoke.candidate", 4),
        ("budget.qick", {"candidates": 4, "minutes": 1}),
        ("start_from", None), ("baselines", None), ("explore", None), ("budget", None), ("explore.tasks", None),
        ("budget.smoke.minutes", None),
        ("start_from", "softmax_attention"), ("start_from", "deltanet"), ("baselines", []), ("baselines", ["mamba"]),
        ("baselines", ["delta_net", "delta_net"]), ("explore.tasks", []), ("explore.tasks", "text"),
        ("explore.seeds", 0), ("explore.seeds", 65), ("explore.seeds", 1.5), ("verify.top", 0),
        ("budget.smoke.candidates", 0), ("budget.smoke.minutes", 0), ("budget.smoke.usd", -1),
        ("researcher", "lmm"), ("policy", "halve"), ("match", ["flops"]), ("at_most", {"flop": 2.0}),
        ("at_most.flops", 0.5), ("seed", -1),
    ],
)  # fmt: skip
def test_both_refuse(path, value):
    assert judgements(changed(path, value)) == (False, False)


@pytest.mark.parametrize(
    "path", ["verify", "confirm", "researcher", "policy", "match", "at_most", "seed", "budget.paper"]
)
def test_both_accept_without(path):
    data = changed(path, None)
    if path == "verify":
        del data["confirm"]
    assert judgements(data) == (True, True)


def test_shipped_toml_campaigns_are_valid():
    for file in Path(asiarc.__file__).parents[1].glob("campaigns/campaign_*.toml"):
        jsonschema.validate(tomllib.loads(file.read_text()), SCHEMA)
        load_toml(file)
