"""Seeds by address, and what a number depends on: what moves an identity, and what does not."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc import Budget, Stage, by_tier
from asiarc.campaign.code import ENTRIES
from asiarc.campaign.identity import moved_fields, run_identity, versions
from asiarc.core.device import PRECISION
from asiarc.core.digest import digest
from asiarc.core.errors import CampaignError
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


def test_a_stored_list_is_the_tuple_that_it_was():
    assert moved_fields({"rungs": [12], "a": {"b": [[1]]}}, {"rungs": (12,), "a": {"b": ((1,),)}}) == []
    assert moved_fields({"rungs": [12]}, {"rungs": (12, 60)}) == ["rungs: [12] -> [12, 60]"]


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


RESEARCHER = """\
from pathlib import Path
from helper import pick
from asiarc.researcher.grammar import GrammarResearcher

LIMIT = 3

class Base:
    def revise(self): return 1

class Mine(Base):
    inputs = ("ideas.txt",)

    def __init__(self, temperature, seen=Path("seen.txt")):
        self.temperature, self.seen, self.asked = temperature, seen, []

    def propose(self, context):
        self.asked.append(pick(LIMIT))

def unrelated():
    return 1
"""


@pytest.fixture
def researcher(tmp_path, monkeypatch):
    """The identity of a campaign whose researcher is an object of a file, after some changes: ``old -> new``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = {"mine.py": RESEARCHER, "helper.py": "def pick(n):\n    return n + 1\n", "ideas.txt": "a", "seen.txt": "b"}

    def identity(changes, temperature=0.5):
        for name, text in texts.items():
            for old, new in changes.items():
                text = text.replace(old, new)
            (tmp_path / name).write_text(text)
        for name in ("mine", "helper"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        mine = importlib.import_module("mine").Mine(temperature)
        declared = campaign(researcher=mine)
        mine.propose(None)  # what it notes of its work is not what it was declared as
        assert campaign(researcher=mine).resolved("quick") == declared.resolved("quick")
        return run_identity(declared, "question", "quick")

    return identity


@pytest.mark.parametrize(
    "changes", [{"LIMIT = 3": "LIMIT = 4"}, {"n + 1": "n + 2"}, {"return 1\n\nclass": "return 2\n\nclass"},
                {"a": "a", "seen.txt": "seen.txt", "self.asked = temperature": "self.asked = 2 * temperature"}]
)  # fmt: skip
def test_a_researchers_code_is_in_the_identity(researcher, changes):
    assert any("spec.researcher.code" in line for line in moved_fields(researcher({}), researcher(changes)))


def test_its_fields_and_the_files_that_it_reads_are_in_it(researcher, tmp_path):
    before = researcher({})
    assert any("fields.temperature" in line for line in moved_fields(before, researcher({}, temperature=0.7)))
    for name, place in (("ideas.txt", "inputs"), ("seen.txt", "fields.seen")):
        mine = importlib.import_module("mine").Mine(0.5)
        (tmp_path / name).write_text("changed")
        after = run_identity(campaign(researcher=mine), "question", "quick")
        assert any(place in line for line in moved_fields(before, after))


def test_what_a_researcher_does_not_rest_on_is_not(researcher):
    comments = {"LIMIT = 3": "LIMIT = 3  # a few", "class Mine(Base):": 'class Mine(Base):\n    """Mine."""\n'}
    for changes in ({}, comments, {"unrelated():\n    return 1": "unrelated():\n    return 2"}):
        assert moved_fields(researcher({}), researcher(changes)) == []


def test_an_input_that_is_not_there_is_said(researcher):
    with pytest.raises(CampaignError, match=r"inputs of Mine names 'no\.txt'"):
        researcher({"ideas.txt": "no.txt"})


IDENTITY = (
    "from asiarc.campaign.identity import run_identity; from asiarc.core.digest import digest;"
    "from tests.harness.fakes import campaign, still\n"
    "with still(): print(digest(run_identity(campaign(), 'question', 'quick')))"
)


def test_no_locale_time_zone_or_hash_seed_is_in_it():
    """Run in Python's own C locale without its UTF-8 mode: a file read by the locale's encoding would not be read."""
    root = Path(__file__).parents[2]
    settings = (
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "2"},
    )
    command = [sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning:asiarc", "-c", IDENTITY]
    found = {
        subprocess.run(command, env=one, cwd=root, capture_output=True, text=True, check=True).stdout
        for one in settings
    }
    assert len(found) == 1


plain = st.recursive(
    st.integers() | st.text(max_size=3), lambda x: st.dictionaries(st.text(max_size=3), x, max_size=3), max_leaves=8
)
identities = st.dictionaries(st.text(max_size=3), plain, max_size=4)


@given(identities, identities)
def test_moved_fields_are_empty_exactly_for_equals(one, other):
    assert bool(moved_fields(one, other)) == (one != other)
    assert len(moved_fields(one, other)) == len(moved_fields(other, one))
