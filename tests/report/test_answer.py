"""What is said before all else: the answer of a campaign and the four sentences, from numbers that are known."""

from __future__ import annotations

import re
from typing import Any

import pytest

from asiarc.archive.results import CampaignResult
from asiarc.report import write
from asiarc.report.answer import answer, answer_line, evidence_of, facts_of, in_order, opening, properties, themes
from asiarc.report.document import read_report

EFFECT = {"mean": 0.2, "low": 0.1, "high": 0.3, "n": 5}


def gain(baseline: str, decision: str = "better", *, task: str = "text", fresh: bool = True, **effect: float) -> Any:
    return {"baseline": baseline, "task": task, "fresh": fresh, "stage": "confirm", "decision": decision, "problem": "",
            "effect": EFFECT | effect}  # fmt: skip


def campaign(*gains: Any, name: str = "recall", winner: str | None = "sum3", start: str = "delta_net") -> Any:
    spec = {"start_from": start, "verify": {"tasks": ["text"]}}
    tasks = [{"name": "own", "metric": "accuracy"}]
    return {
        "name": name, "tier": "quick", "spec": spec, "gains": list(gains), "stages": [{"tasks": tasks}], "transfer": [],
        "winner": {"name": winner} if winner else None, "stages_finished": ["explore", "verify"], "figures": [],
        "ran": {"proposed": 48},
    }  # fmt: skip


def report(*campaigns: Any, decided: Any = (), open_claims: Any = (), counts: Any = ()) -> Any:
    return {
        "tier": "quick", "campaigns": list(campaigns), "studies": [], "searches": [],
        "provenance": {"cpu": "a processor"},
        "claims": {"decided": list(decided), "open": list(open_claims), "counts": dict(counts)},
        "spend": {"trials": 180, "cpu_s": 1908.0, "tokens": 117_500_000},
    }  # fmt: skip


def claim(number: str, needs: str = "", theme: str = "", verdict: str = "reproduced") -> Any:
    return {
        "verdict": {"claim": number, "verdict": verdict, "evidence_path": "run a"},
        "register": {"needs": needs, "theme": theme},
    }


# --- a campaign's line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decision", "says"), [
    ("better", "sum3 is better than delta_net by +0.2000 [+0.1000, +0.3000] bits a byte on text, n = 5"),
    ("worse", "sum3 is worse than delta_net: +0.2000 [+0.1000, +0.3000] bits a byte on text, n = 5"),
    ("no worse", "sum3 is no worse than delta_net: +0.2000 [+0.1000, +0.3000] bits a byte on text, n = 5"),
    ("cannot tell", "sum3 cannot be told from delta_net: +0.2000 [+0.1000, +0.3000] bits a byte on text, n = 5"),
])  # fmt: skip
def test_the_answer_says_what_was_decided_with_its_numbers(decision, says):
    assert answer(campaign(gain("delta_net", decision))) == says


def test_the_start_comes_first_and_the_others_by_what_is_said_of_them():
    found = campaign(gain("gla"), gain("mamba2", "cannot tell"), gain("delta_net"), gain("kda"))
    assert answer(found).endswith("n = 5; better than gla, kda; not told from mamba2")
    assert answer(found).startswith("sum3 is better than delta_net by")


def test_a_task_of_ones_own_brings_its_unit():
    assert "+0.2000 [+0.1000, +0.3000] accuracy on own" in answer(campaign(gain("delta_net", task="own")))


def test_what_chose_the_winner_answers_nothing():
    assert "nothing is decided" in answer(campaign(gain("delta_net", fresh=False)))
    assert properties(campaign(gain("delta_net", fresh=False))) == {"winner": "sum3"}
    one_seed = gain("delta_net") | {"effect": None, "problem": "1 common seeds"}
    assert answer(campaign(one_seed)).endswith("nothing is decided: 1 common seeds")


def test_without_a_winner_it_says_why():
    assert answer_line(campaign(winner=None)) == "recall at quick: no winner: no candidate was scored in verify"
    assert properties(campaign(winner=None)) == {}


def test_properties_are_the_numbers_of_the_line():
    assert properties(campaign(gain("delta_net"))) == {
        "winner": "sum3", "baseline": "delta_net", "task": "text", "decision": "better", "gain": 0.2, "low": 0.1,
        "high": 0.3, "n": 5,
    }  # fmt: skip


def test_a_run_and_its_report_give_the_same_answer(bench, tmp_path):
    built = bench()
    built.fill([0.0, 0.1, 0.05, 0.2])
    write(built.archive, "quick", tmp_path / "quick")
    (told,) = read_report(tmp_path / "quick")["campaigns"]
    now = facts_of(CampaignResult.load(built.archive, built.run))
    assert answer_line(now) == answer_line(told) and properties(now) == properties(told)


# --- the opening ------------------------------------------------------------------------------------------------------


def test_own_campaigns_come_before_those_that_the_papers_claims_need():
    rows = [campaign(name=name) for name in ("delta_text", "mine", "late")]
    needs = {"needs": "campaign late, or study x"}
    found = report(*rows, decided=[claim("C29", "campaign delta_text")], open_claims=[needs])
    assert [c["name"] for c in in_order(found)] == ["mine", "delta_text", "late"]


@pytest.mark.parametrize("campaigns", [
    (), (campaign(winner=None),), (campaign(),), (campaign(gain("delta_net")),),
    (campaign(gain("delta_net"), gain("mamba2", "cannot tell")), campaign(name="other")),
])  # fmt: skip
def test_there_are_always_four_sentences(campaigns):
    sentences = opening(report(*campaigns))["sentences"]
    assert len(sentences) == 4 and all(re.fullmatch(r".+\.", sentence) for sentence in sentences)


def test_they_say_the_answer_the_others_the_cost_and_what_stays_open():
    lead = campaign(gain("delta_net"), gain("mamba2", "cannot tell", mean=-0.01, low=-0.04, high=0.02))
    lead["transfer"] = [{"correlation": {"transfers": True}}, {"correlation": None}]
    found = opening(report(lead, counts={"reproduced": 3, "inconclusive": 2, "not testable here": 1}))["sentences"]
    assert found == [
        "In recall, sum3 is better than delta_net by +0.2000 [+0.1000, +0.3000] bits a byte on text, n = 5, on fresh "
        "seeds and items.",
        "On the same seeds it is not told from mamba2 (-0.0100 [-0.0400, +0.0200]).",
        "At tier quick all of this took 48 candidates proposed from delta_net, 180 trials, 31 min 48 s of processor "
        "time and 118 M training tokens on a processor.",
        "What could not be told: whether it is ahead of mamba2; whether ranks carry over in 1 of 2 pairs of rungs and "
        "stages; 3 of the 6 claims of the paper that were asked (2 inconclusive, 1 not testable here).",
    ]  # fmt: skip


def test_of_several_campaigns_it_says_how_many_found_something():
    found = opening(report(campaign(name="none"), campaign(gain("delta_net"), name="some")))
    assert found["sentences"][0].startswith("In some, sum3 is better")
    assert found["sentences"][1] == "Of 2 campaigns, 1 found a mixer better than where they began: some."
    assert [c["name"] for c in found["answers"]] == ["none", "some"]


# --- claims -----------------------------------------------------------------------------------------------------------


def test_claims_stand_by_theme_in_the_registers_order():
    rows = [claim("C01", theme="a"), claim("C02", theme="b", verdict="partly"), claim("C03", theme="a"), claim("C04")]
    assert [(theme, [r["verdict"]["claim"] for r in mine], counts) for theme, mine, counts in themes(rows)] == [
        ("a", ["C01", "C03"], {"reproduced": 2}), ("b", ["C02"], {"partly": 1}),
        ("other claims", ["C04"], {"reproduced": 1}),
    ]  # fmt: skip


def test_a_verdict_leads_to_what_it_rests_on():
    found = report(campaign(name="delta_text"))
    assert evidence_of(claim("C29", "campaign delta_text"), found)["href"] == "#campaign-delta_text"
    assert evidence_of(claim("C24", "study mad"), found) == {"href": "#C24-how", "words": "run a"}


def test_every_link_in_the_page_has_its_place(written, with_studies):
    for folder in (written, with_studies):
        text = re.sub(r"<svg.*?</svg>", "", (folder / "report.html").read_text(), flags=re.DOTALL)
        places = re.findall(r' id="([^"]+)"', text)
        assert len(places) == len(set(places))
        assert set(re.findall(r'href="#([^"]+)"', text)) <= set(places)
