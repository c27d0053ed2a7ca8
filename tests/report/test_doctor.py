"""What doctor says of each tier: priced as --plan prices, by what is stored here where anything is."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from asiarc.core.recipe import TIERS
from asiarc.harness.cli import main
from asiarc.harness.doctor_verb import plain_campaign, tiers_here
from asiarc.studies.plan import cpu_s_of, stage_trials

from ..harness.fakes import Bench, campaign


def test_tiers_are_priced_by_what_is_stored_here(tmp_path):
    guessed, why = tiers_here(tmp_path, workers=2)
    assert "a guess until trials are stored here" in why and list(guessed) == list(TIERS)
    assert guessed["smoke"]["seconds"] < guessed["quick"]["seconds"] < guessed["full"]["seconds"]
    halved, _ = tiers_here(tmp_path, workers=4)
    assert halved["quick"]["seconds"] == [value / 2 for value in guessed["quick"]["seconds"]]
    assert "does not run here: torch finds no GPU" in guessed["paper"]["said"] or guessed["paper"]["runs"]
    Bench(campaign(verify=None, confirm=None), tmp_path / "store", tier="smoke").run()
    measured, why = tiers_here(tmp_path / "store", workers=2)
    assert "as the trials in" in why or measured["quick"]["seconds"] == guessed["quick"]["seconds"]


@pytest.mark.parametrize("tier", ["smoke", "quick", "full"])
def test_a_plain_campaign_is_priced_as_a_plan_prices_it(tmp_path, tier):
    asked, found = plain_campaign(tier), tiers_here(tmp_path, workers=1)[0][tier]
    trials = [row for stage in asked.stages for row in stage_trials(asked, stage, tier)]
    assert found["seconds"][0] == pytest.approx(cpu_s_of(trials)) and found["trials"] == sum(n for n, _ in trials)
    assert 2 * found["seconds"][0] < found["seconds"][1]


def test_both_forms_say_the_same(tmp_path):
    found = json.loads(CliRunner().invoke(main, ["doctor", "--json", "--store", str(tmp_path)]).stdout)
    told = CliRunner().invoke(main, ["doctor", "--store", str(tmp_path)]).output
    assert {row["layer"] for row in found["sandbox"]} and set(found["tiers"]) == set(TIERS)
    for tier, row in found["tiers"].items():
        assert f"{tier:<6} {row['said']}" in told
    assert found["rate"] in told
