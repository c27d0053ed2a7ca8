"""What the report says, against the archive's own reading and textbook formulas."""

from __future__ import annotations

import json
import statistics
from itertools import product

import pytest
from scipy import stats

from asiarc.archive.results import CampaignResult
from asiarc.core.candidate import content_address
from asiarc.core.outcome import Outcome
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.models.baselines import baseline_source
from asiarc.report import facts, tables
from asiarc.report.checks import verify
from asiarc.report.document import read_report, render, write

from .conftest import RUNGS, STEPS

START = content_address(baseline_source("delta_net"))
NULL = [0.0, -0.01, 0.005, 0.0, 0.0, -0.005]


pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture
def filled(bench):
    built = bench()
    built.addresses = built.fill([0.02 * number for number in range(14)])
    return built


def read(built):
    return CampaignResult.load(built.archive, built.run)


def test_winners_gain_is_the_one_that_tests_see(filled):
    result = CampaignResult.load(filled.archive, filled.run)
    rows = {(g["stage"], g["baseline"]): g["effect"] for g in facts.gain_facts(read(filled))}
    for baseline in ("delta_net", "gated_delta_net", "mamba2"):
        for stage in ("verify", "confirm"):
            assert rows[stage, baseline] == result.winner.gain_over(baseline, stage=stage).as_dict()


THREE = ("overwrite", "reset", "recall")  # none may decide alone, so all of them do


@pytest.fixture
def three(bench, tmp_path):
    """A campaign whose confirm has three deciding tasks, and its report."""
    built = bench(confirmed=THREE)
    built.fill([0.02 * number for number in range(14)])
    write(built.archive, "quick", tmp_path / "quick")
    return built, tmp_path / "quick"


def test_one_gain_has_one_interval_on_three_deciding_tasks(three):
    built, folder = three
    winner = CampaignResult.load(built.archive, built.run).winner
    (campaign,) = read_report(folder)["campaigns"]
    rows = [row for row in campaign["gains"] if row["stage"] == "confirm"]
    assert [(row["task"], row["baseline"]) for row in rows] == list(product(THREE, winner.result.spec["baselines"]))
    for row in rows:
        assert row["effect"] == winner.gain_over(row["baseline"], row["task"]).as_dict()
        assert row["effect"]["num_comparisons"] == 1 * 3 * 3
    assert verify(folder) == []


@pytest.mark.parametrize("entrants", [1, 3])
def test_a_tampered_count_of_comparisons_is_found(three, entrants):
    """The interval fits the count that it states, and everything is signed again."""
    _, folder = three
    report = read_report(folder)
    (campaign,) = report["campaigns"]
    stage = next(stage for stage in campaign["stages"] if stage["stage"] == "confirm")
    rows, told = {row["name"]: row["tasks"] for row in stage["rows"]}, 3 if entrants == 1 else 27
    for row in (row for row in campaign["gains"] if row["stage"] == "confirm"):
        mine, theirs = (rows[n][row["task"]]["values"] for n in (campaign["winner"]["name"], row["baseline"]))
        effect = paired_effect(mine, theirs, higher_is_better=True, num_comparisons=told)
        row |= {"effect": effect.as_dict(), "decision": facts.decision_of(effect, "confirm")}
    stage["entrants"] = entrants
    (folder / "report.json").write_text(json.dumps(report))
    render(folder)
    problems = verify(folder)
    assert any(f"num_comparisons is {told}, its data give 9" in p for p in problems)


def test_gain_against_scipys_paired_t(filled):
    reading = read(filled)
    gain = next(g for g in facts.gain_facts(reading) if g["stage"] == "confirm" and g["baseline"] == "mamba2")
    values = reading.values("confirm")
    mine, other = (values[a]["text"] for a in (reading.winner_address, reading.baselines["mamba2"]))
    reference = stats.ttest_rel([other[s] for s in sorted(other)], [mine[s] for s in sorted(mine)])
    interval = reference.confidence_interval(1 - 0.05 / 3)  # one entrant, three baselines
    assert gain["effect"]["p_value"] == pytest.approx(reference.pvalue)
    assert (gain["effect"]["low"], gain["effect"]["high"]) == pytest.approx((interval.low, interval.high))
    assert gain["decision"] == "better"


def test_only_fresh_seeds_decide(filled):
    decisions = {(g["stage"], g["decision"]) for g in facts.gain_facts(read(filled)) if g["effect"]["low"] > 0}
    assert {word for stage, word in decisions if stage != "confirm"} <= {"cannot tell"}
    assert ("confirm", "better") in decisions


@pytest.mark.parametrize("stage", ["explore", "verify"])
def test_a_certain_gain_on_chosen_seeds_is_not_called_better(stage):
    assert facts.decision_of(Effect(1.0, 0.9, 1.1, 50, 0.1, 1e-9, "paired t"), stage) == "cannot tell"


def test_counts_and_spend(filled):
    ran = facts.ran_facts(read(filled))
    assert (ran["proposed"], ran["admitted"], ran["pending"]) == (14, 12, 0)
    assert ran["outcomes"] == {"rejected": 2, "scored": 12}
    assert sum(s["trials"] for s in ran["spend"]) == filled.count
    assert sum(s["cpu_s"] for s in ran["spend"]) == pytest.approx(2.0 * filled.count)
    assert sum(s["tokens"] for s in ran["spend"]) == filled.archive.rows("SELECT SUM(tokens) AS n FROM trials")[0]["n"]


def test_stage_table_means_and_order(filled):
    reading = read(filled)
    table = facts.stage_facts(reading, "verify")
    texts = [row["tasks"]["text"] for row in table["rows"]]
    assert [t["mean"] for t in texts] == sorted(t["mean"] for t in texts)
    for cell in texts:
        values = list(cell["values"].values())
        radius = stats.t.isf(0.025, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
        assert (cell["mean"], cell["high"] - cell["mean"]) == pytest.approx((statistics.fmean(values), radius))
    assert {row["role"] for row in table["rows"]} == {"winner", "candidate", "baseline"}


def test_candidates_ahead_are_counted_over_all_that_entered(filled):
    reading = read(filled)
    table, values = facts.stage_facts(reading, "verify"), reading.values("verify")
    p_values = [
        stats.ttest_rel(*([values[a]["text"][s] for s in sorted(values[a]["text"])] for a in (START, address))).pvalue
        for address in reading.stage("verify")["entrants"]
    ]
    kept = sum(stats.false_discovery_control(p_values) <= 0.05)
    assert (table["told_apart"]["ahead"], table["told_apart"]["compared"]) == (kept, 3)
    assert facts.stage_facts(reading, "confirm")["told_apart"] is None


def test_tuning_trials_are_in_the_spend_but_not_in_the_means(filled):
    before = facts.stage_facts(read(filled), "verify")
    key = "tuning000001"
    trial = filled.archive.trials(filled.run, "verify")[0]
    tuned = type(trial)(**{**vars(trial), "key": key, "seed": "0/verify tuning/0", "value": 99.0})
    filled.archive.add_trial(tuned, {}, layers=[])
    filled.archive.add_use(filled.run, "verify", key)
    assert facts.stage_facts(read(filled), "verify") == before
    spend = {s["stage"]: s["trials"] for s in facts.ran_facts(read(filled))["spend"]}
    assert spend["verify"] == len(filled.archive.trials(filled.run, "verify"))


def test_an_unscored_trial_is_an_outcome_and_never_a_number(filled):
    reading = read(filled)
    failed = Outcome("timed_out", "no end after 600 s")
    filled.trial(reading.winner_address, "text", "confirm", 99, STEPS, 0.0, outcome=failed)
    row = facts.stage_facts(read(filled), "confirm")["rows"][0]
    assert row["outcomes"] == {"timed_out": 1} and row["tasks"]["text"]["n"] == 5


def test_transfer_against_scipy_and_flagged(filled):
    reading = read(filled)
    rows = {(row["from"], row["to"]): row for row in facts.transfer_facts(reading)}
    assert set(rows) == {(a, b) for i, a in enumerate(reading.levels) for b in list(reading.levels)[i + 1 :]}
    first = rows[f"explore, {RUNGS[0]} steps", f"explore, {RUNGS[1]} steps"]
    points = tables.transfer(reading, {"transfer": [first]})
    rho = stats.spearmanr([p["gain_from"] for p in points], [p["gain_to"] for p in points]).statistic
    assert first["correlation"]["rho"] == pytest.approx(rho) and first["n"] == len(points)
    late = rows["verify", "confirm"]
    assert late["n"] == 4 and late["baselines"] == 3 and not late["correlation"]["transfers"]


def test_lineage_ends_at_the_start_and_survives_a_loop(bench):
    built = bench()
    built.start()
    a = built.propose(0, "a", [START])
    b = built.propose(1, "b", [a])
    assert [link["address"] for link in facts.lineage_of(read(built), b)] == [b, a, START]
    c = built.propose(2, "c", [])
    built.archive.add_proposal(
        built.run, 3, 0, {"address": a, "name": "a", "motivation": "", "parents": [b], "origins": [], "predicted": ""}
    )
    assert len(facts.lineage_of(read(built), b)) == 3
    assert [link["address"] for link in facts.lineage_of(read(built), c)] == [c]


def test_origins_count_elements_by_kind(filled):
    groups = {row["group"]: row for row in facts.origin_facts(read(filled))}
    assert groups["all proposals"]["counts"] == {"experience": 9, "cognition": 14, "original": 5}
    assert groups["winner"]["elements"] == 2
    assert groups["scored"]["candidates"] == 12


def test_rejections_by_gate(filled):
    (group,) = facts.failure_facts(read(filled))
    assert (group["outcome"], group["gate"], group["count"]) == ("rejected", "causality", 2)
    assert [example["number"] for example in group["examples"]] == [4, 9]


def test_latest_finished_run_is_taken(bench):
    done, begun = bench(variant="done"), bench(variant="begun")
    done.fill(NULL)
    begun.start()
    other = bench(name="other")
    other.start()
    rows = facts.latest_runs(done.archive, "quick", None)
    assert [(row["run"], row["record"] is not None, row["earlier"]) for row in rows] == [
        (done.run, True, 1),
        (other.run, False, 0),
    ]
    assert [row["campaign"] for row in facts.latest_runs(done.archive, "quick", ["other"])] == ["other"]
    assert facts.latest_runs(done.archive, "smoke", None) == []


def test_baseline_cells_prefer_the_baselines_own_table(bench):
    built = bench()
    built.fill(NULL)
    trials = facts.baseline_trials(built.archive, "quick", [read(built)])
    assert {t["used_in"] for t in trials if t["task"] == "text"} == {"confirm"}
    table = bench(run="b" * 16)
    built.archive.add_run(table.run, "baselines", "quick", 0, {"campaign": "baselines"}, {})
    table.baselines("verify", 4, STEPS, ("text",))
    found = facts.baseline_facts(facts.baseline_trials(built.archive, "quick", [read(built)]))
    assert {cell["n"] for cell in found["cells"]} == {4} and {cell["task"] for cell in found["cells"]} == {"text"}
    order = next(s for s in found["signatures"] if (s["ahead"], s["behind"]) == ("gated_delta_net", "delta_net"))
    assert order["effect"]["low"] > 0
    missing = next(s for s in found["signatures"] if s["behind"] == "linear_attention")
    assert missing["effect"] is None and missing["problem"] == "linear_attention was not trained on it here"


def test_everything_is_json_without_nan(filled):
    row = facts.latest_runs(filled.archive, "quick", None)[0]
    found = facts.campaign_facts(read(filled), row, filled.archive.folder)
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))


def test_search_and_components_against_a_plain_count(filled):
    reading = read(filled)
    found = facts.campaign_facts(reading, facts.latest_runs(filled.archive, "quick", None)[0], filled.archive.folder)
    rows = tables.search(reading, found)
    gains = [row["gain"] for row in filled.archive.results(filled.run) if row["gain"] is not None]
    assert rows[-1]["ahead"] == sum(gain > 0 for gain in gains)
    assert rows[-1]["pool_gain"] == pytest.approx(statistics.fmean(sorted(gains)[-3:]))
    explore = next(s for s in facts.ran_facts(reading)["spend"] if s["stage"] == "explore")
    assert rows[-1]["cpu_s"] < explore["cpu_s"]  # the baselines' share is not the candidates'
    shares = {row["choice"]: row for row in tables.components(reading, found)}
    assert shares["memory=delta"]["leading"] == shares["memory=delta"]["of_leading"] == 3
    assert sum(shares[f"floor={kind}"]["leading"] for kind in range(3) if f"floor={kind}" in shares) == 3
    assert shares["memory=delta"]["rest"] == 9


def test_a_text_in_tokens_is_said_with_its_bytes_a_token(filled, tmp_path):
    """Bits a token are bits a byte times that, in both forms of the report; a text in bytes says nothing of it."""
    filled.archive._db.execute(
        "UPDATE trials SET details = json_object('tokenizer', 'bpe-512-aa', 'bits_per_token', 4 * value) "
        "WHERE task = 'text' AND outcome = 'scored'"
    )
    said = {task["name"]: task for task in facts.stage_facts(read(filled), "verify")["tasks"]}
    assert (said["text"]["tokenizer"], said["text"]["bytes_per_token"]) == ("bpe-512-aa", pytest.approx(4))
    assert all("tokenizer" not in task for name, task in said.items() if name != "text")
    write(filled.archive, "quick", tmp_path / "quick")
    for page in ("report.md", "report.html"):
        assert "a token of the scored text has 4.000 bytes" in (tmp_path / "quick" / page).read_text()
    assert not verify(tmp_path / "quick")
