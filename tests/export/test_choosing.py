"""Who is meant, which of its trials, and what may be said of it: against the committed run."""

from __future__ import annotations

from pathlib import Path

import pytest

from asiarc.archive.extract import opened
from asiarc.core.errors import EvidenceError
from asiarc.core.outcome import Outcome
from asiarc.export.card import card, claims
from asiarc.export.chosen import choose

RUN = Path(__file__).parents[2] / "results" / "reproduction" / "quick" / "extract.jsonl.gz"


@pytest.fixture(scope="module")
def archive():
    with opened(RUN) as extract:
        yield extract.archive


@pytest.fixture(scope="module")
def winner(archive):
    return choose(archive, "delta_text", "quick")


def test_a_campaign_means_its_winner(archive, winner):
    (stage,) = archive.rows(
        "SELECT result ->> 'winner' AS winner FROM stages WHERE stage = 'verify' AND winner NOT NULL"
    )
    assert winner.address == stage["winner"]
    assert (winner.trial.stage, winner.trial.task, winner.run["campaign"]) == ("confirm", "mixed:zipf", "delta_text")


def test_an_address_its_beginning_and_a_name_mean_the_same(archive, winner):
    for given in (winner.address, winner.address[:7], winner.name):
        assert choose(archive, given, "quick") == winner


def test_the_first_seed_is_taken_whatever_it_scored(archive, winner):
    seeds = archive.rows(
        "SELECT seed FROM trials WHERE address = ? AND stage = 'confirm' AND task = ? ORDER BY seed",
        winner.address,
        winner.trial.task,
    )
    assert len(seeds) > 1 and winner.trial.seed == seeds[0]["seed"]


def test_the_trial_is_asked_for_as_it_was(winner):
    request = winner.request
    assert request.payload["recipe"]["mlp_ratio"] * winner.recipe.d_model == winner.trial.details["hidden"]
    assert (request.split, request.stage, request.seed) == ("confirmation", "confirm", winner.trial.seed)
    assert request.documents == winner.run["identity"]["plans"]["confirm"]["documents"]


def test_a_baseline_of_the_run_is_its_own_candidate(archive):
    assert choose(archive, "delta_net", "quick").trial.stage == "confirm"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("delta_txt", "Did you mean 'delta_text'"),
        ("", "unknown candidate"),
        ("%", "unknown candidate"),
        ("0", "candidates are called '0'"),
        ("kda", "asiarc baselines --baselines kda"),
    ],
)
def test_whoever_is_not_meant_is_told_whom_to_name(archive, given, told):
    with pytest.raises(EvidenceError, match=told):
        choose(archive, given, "quick")


def test_what_was_scored_elsewhere_is_told_where(archive, winner):
    with pytest.raises(EvidenceError, match=r"--tier quick \(in delta_text\)"):
        choose(archive, winner.address, "smoke")
    with pytest.raises(EvidenceError, match=r"not scored at tier quick in another"):
        choose(archive, winner.address, "quick", "another")


def test_what_was_never_scored_is_told_why(archive, winner):
    archive.add_candidate("fedcba9876543210", "peeker", "source", "")
    peeked = Outcome("rejected", "output 3 depends on input 4", "causality")
    archive.add_result(winner.run["run"], 1000, "fedcba9876543210", peeked, rung=-1, gain=None, scores={})
    with pytest.raises(EvidenceError, match="never scored: rejected causality output 3 depends on input 4"):
        choose(archive, "fedc", "quick")


FOUND = {
    "parameters": 100_000, "needs_einops": False, "module": "modeling_x", "task": "asiarc_text", "stored": 2.34,
    "score": 2.34, "agreement": "equal",
}  # fmt: skip


def test_the_card_says_what_the_run_showed_and_no_more(archive, winner):
    rows = claims(archive, winner)
    assert {row["over"] for row in rows} == set(winner.run["identity"]["spec"]["baselines"])
    text = card(archive, winner, FOUND)
    for row in rows:
        assert row["verdict"] == ("better" if row["low"] > 0 else "worse" if row["high"] < 0 else "cannot tell")
        assert f"| {row['over']} | {row['mean']:+.4f} | [{row['low']:+.4f}, {row['high']:+.4f}] |" in text
    for said in (winner.address, winner.run["run"], winner.trial.seed, "quick", "cpu", "torch 2.", "## Limits"):
        assert said in text


def test_nothing_is_claimed_of_who_was_not_confirmed(archive):
    (other,) = archive.rows(
        "SELECT address FROM results WHERE outcome = 'scored' AND address NOT IN "
        "(SELECT address FROM trials WHERE stage NOT LIKE 'explore%') ORDER BY number LIMIT 1"
    )
    chosen = choose(archive, other["address"], "quick")
    assert claims(archive, chosen) == []
    assert "Nothing is claimed" in card(archive, chosen, FOUND)
