"""Seeds by address, and what a number depends on: what moves an identity, and what does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc import Budget, Stage, by_tier
from asiarc.campaign.code import ENTRIES
from asiarc.campaign.identity import moved_fields, run_identity, versions
from asiarc.core.device import PRECISION
from asiarc.core.digest import digest
from asiarc.core.seeds import rng_of, seed_of

from .declarations import campaigns
from .fakes import Writer, campaign

parts = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
addresses = st.lists(parts, min_size=1, max_size=4)


def test_seeds_are_the_same_for_ever():
    """Written down once: another value would make every stored trial somebody else's."""
    assert seed_of("delta_text", "quick", 0, "explore", 3) == 5591628878593422031
    assert seed_of(0) == 6197007067532723406
    assert rng_of("a", 1).random() == 0.1671514588640819
    assert rng_of("a", 1).random() == rng_of("a", 1).random() != rng_of("a", 2).random()


@given(addresses, addresses)
def test_different_addresses_have_different_seeds(one, other):
    same = json.dumps(one) == json.dumps(other)
    assert (seed_of(*one) == seed_of(*other)) == same
    assert 0 <= seed_of(*one) < 2**63


def test_parts_do_not_run_together():
    distinct = [
        ("a", "b"),
        ("ab",),
        ("a,b",),
        ('a","b',),
        ("a", "b", ""),
        (1, "b"),
        ("1", "b"),
        (True, "b"),
        (1.0, "b"),
    ]
    assert len({seed_of(*address) for address in distinct}) == len(distinct)
    with pytest.raises(AssertionError):
        seed_of()


CHANGES = {
    "seed": dict(seed=1),
    "spec.policy": dict(policy="paper"),
    "spec.researcher": dict(researcher="random"),
    "spec.researcher (an object)": dict(researcher=Writer([])),
    "spec.match": dict(match=()),
    "spec.at_most": dict(at_most={"flops": 2.0}),
    "spec.baselines": dict(baselines=("delta_net", "gla")),
    "spec.explore": dict(explore=Stage(tasks=("text", "overwrite"), seeds=1)),
    "spec.verify": dict(verify=Stage(tasks=("text", "overwrite"), seeds=3, top=4)),
    "spec.confirm": dict(confirm=None),
    "tasks": dict(confirm=Stage(tasks=("text", "parity"), seeds=4)),
    "spec.candidates": dict(budget=by_tier(quick=Budget(candidates=13, minutes=60))),
}


@pytest.mark.parametrize("field", CHANGES)
def test_what_decides_a_number_moves_the_identity_and_is_named(field):
    before = run_identity(campaign(), "question", "quick")
    after = run_identity(campaign(**CHANGES[field]), "question", "quick")
    assert digest(before) != digest(after)
    assert any(line.startswith(field.partition(" ")[0]) for line in moved_fields(before, after))


def test_name_and_tier_are_part_of_it():
    identities = [run_identity(campaign(), name, tier) for name in ("a", "b") for tier in ("smoke", "quick")]
    assert len({digest(identity) for identity in identities}) == 4


def test_what_is_only_spent_is_not():
    dear = by_tier(quick=Budget(candidates=12, minutes=1, usd=99), full=Budget(candidates=9999, minutes=1))
    assert run_identity(campaign(), "q", "quick") == run_identity(campaign(budget=dear), "q", "quick")


@given(campaigns())
def test_an_identity_is_plain_data(drawn):
    resolved = drawn.resolved(drawn.budget.tiers[0])
    assert digest(resolved) == digest(json.loads(json.dumps(resolved)))


def test_code_and_packages_that_decide_are_in_it():
    identity = run_identity(campaign(), "question", "quick")
    assert identity.items() >= versions().items()
    assert {"torch", "lm-eval"} <= versions().keys()
    assert "not installed" not in versions().values()
    assert identity["code"].keys() == set(ENTRIES)
    assert {"mean_gain", "run", "Run.explore", "schema.sql"} <= identity["definitions"].keys()
    assert identity["precision"] == PRECISION[identity["device"]]


def test_an_identity_is_of_reasonable_size():
    assert len(json.dumps(run_identity(campaign(), "question", "quick"))) < 50_000


@pytest.mark.parametrize("field", ["device", "precision", "backend"])
def test_where_it_is_computed_moves_it(field, monkeypatch):
    before = run_identity(campaign(), "question", "quick")
    monkeypatch.setenv("ASIARC_DEVICE", "cuda" if before["device"] == "cpu" else "cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # Triton is there
    after = run_identity(campaign(), "question", "quick")
    assert any(line.startswith(f"{field}: ") for line in moved_fields(before, after))


plain = st.recursive(
    st.integers() | st.text(max_size=3), lambda x: st.dictionaries(st.text(max_size=3), x, max_size=3), max_leaves=8
)
identities = st.dictionaries(st.text(max_size=3), plain, max_size=4)


@given(identities, identities)
def test_moved_fields_are_empty_exactly_for_equals(one, other):
    assert bool(moved_fields(one, other)) == (one != other)
    assert len(moved_fields(one, other)) == len(moved_fields(other, one))
