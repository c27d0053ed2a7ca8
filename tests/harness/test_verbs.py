"""What is asked of an archive that the laboratory filled: numbers are those of the run, errors end in a next step."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from asiarc.archive.gains import gains_of
from asiarc.archive.results import CampaignResult, paired_by_seed
from asiarc.archive.store import Archive
from asiarc.harness import archive_verbs, plugin
from asiarc.harness.cli import main
from asiarc.harness.options import project_store
from asiarc.studies.frame import in_time, look, rows_of
from tests.harness.test_surface import commands

from .fakes import Bench, FakeExecutor, campaign, candidate, still, written

PARENT = candidate("parent", GAIN=0.3, GENOME={"memory": "delta", "gate": "scalar"})
CHILD = candidate("child", GAIN=0.5, GENOME={"memory": "ssd", "gate": "scalar"})
ROOT = Path(__file__).parents[2]
SOURCES = (PARENT, CHILD, candidate("leaky", REJECTED="causality"), candidate("worse", GAIN=-0.2))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished run of written candidates, an earlier one with another seed, and a run of the grammar's."""
    folder = tmp_path_factory.mktemp("verbs") / ".asiarc"
    for seed in (1, 0):
        Bench(written(*SOURCES, seed=seed), folder, tier="smoke").run()
    Bench(campaign(), folder, name="grammars", tier="smoke").run()
    Bench(campaign(), folder, name="unfinished", tier="quick").run(None, "explore")
    return folder


@pytest.fixture
def asked(store):
    def ask(*words, status=0):
        with still():
            done = CliRunner().invoke(main, [*words, "--store", str(store)], env={"COLUMNS": "60"})
        assert done.exit_code == status, (done.output, done.exception)
        return json.loads(done.stdout) if "--json" in words and status == 0 else " ".join(done.output.split())

    return ask


@pytest.fixture
def result(store):
    with Archive(store, write=False) as archive:

        def load(name="question", tier="smoke", which=-1):
            return CampaignResult.load(archive, archive.runs(name, tier)[which]["run"])

        yield load


# --- frames -----------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_told_by_what_confirm_measured(store, result):
    frame = look(result().archive, result().run)
    winner = result().winner
    effect = winner.gain_over("delta_net")
    assert frame.is_finished and (frame.best.name, frame.best.gain) == ("child", effect.mean)
    assert (frame.best.low, frame.best.high) == (effect.low, effect.high) and "fresh seeds and items" in frame.best.kind
    assert (frame.proposed, frame.scored, frame.rejected, frame.left_s) == (4, 3, {"causality": 1}, (0, 0))
    assert frame.cpu_s == sum(trial.cpu_s for trial in result().trials())
    assert "all finished" in dict(rows_of(frame))["stage"] and "time left" not in dict(rows_of(frame))


@pytest.mark.parametrize("policy", ["ucb", "thompson", "halving", "map_elites", "random", "paper"])
def test_who_leads_is_who_the_search_names_and_with_its_estimate(tmp_path, policy):
    bench = Bench(campaign(policy=policy, verify=None, confirm=None), tmp_path, tier="full")
    bench.run()
    with Archive(tmp_path, write=False) as archive:
        run = archive.runs()[-1]["run"]
        found, frame = archive.stage_result(run, "explore"), look(archive, run)
    assert frame.best.address == found["finalists"][0]
    assert frame.best.gain == pytest.approx(found["estimates"][frame.best.address])
    low, high, kind = frame.best.low, frame.best.high, frame.best.kind
    if policy in ("halving", "random", "paper"):  # which here report what they have measured
        assert low is None and "chosen as the best of many, so expect less" in kind
    else:
        assert low < frame.best.gain < high and "shrunken for having been chosen" in kind


def test_trials_of_the_batch_in_flight_are_counted(tmp_path):
    executor = FakeExecutor(interrupt_at=18)
    with pytest.raises(KeyboardInterrupt):
        Bench(campaign(), tmp_path).run(executor)
    with Archive(tmp_path, write=False) as archive:
        frame = look(archive, archive.runs()[-1]["run"], workers=2)
    assert frame.trained == len(executor.trials) > 0 and not frame.is_finished
    low, high = frame.left_s
    assert 0 < frame.stage_left_s[0] < low < high and frame.trained < frame.most_trials


@pytest.mark.parametrize(
    ("seconds", "told"),
    [((1, 59), "less than a minute"), ((30, 90), "0.5 to 1.5 minutes"), ((660, 5000), "11 to 83 minutes"),
     ((7200, 40000), "2.0 to 11 hours"), ((86400, 864000), "1.0 to 10 days")],
)  # fmt: skip
def test_time_is_a_range_in_the_unit_of_its_end(seconds, told):
    assert in_time(seconds) == told


# --- watch ------------------------------------------------------------------------------------------------------------


def test_watch_takes_the_last_run_and_says_that_it_has_ended(asked):
    told = asked("watch", "--once")
    assert "unfinished at tier quick" in told and "verify, 2 of 3" in told
    assert "go on with: pytest campaigns --tier quick -k unfinished" in told
    assert "finished; asiarc show question --tier smoke" in asked("watch", "question", "--once")
    assert asked("watch", "grammars", "--json")["campaign"] == "grammars"
    assert "unknown run of 'questio (any tier)'. Did you mean 'question (smoke)'" in asked("watch", "questio", status=1)


def test_watching_writes_nothing_and_ends_where_nobody_writes(asked, store):
    """Not on a terminal, and without --once: the writer is gone, so one look is all."""
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.db")}
    assert "nothing runs in" in asked("watch", "unfinished", "--tier", "quick")
    assert before == {path: path.stat().st_mtime_ns for path in store.rglob("*.db")}


def test_a_writer_is_there_or_gone(tmp_path):
    lock = tmp_path / "writer.lock"
    assert archive_verbs.writer_of(tmp_path) is None
    lock.write_text(f"process {os.getpid()}")
    assert archive_verbs.writer_of(tmp_path) == os.getpid()
    for gone in ("process 999999999", "process", "nonsense"):
        lock.write_text(gone)
        assert archive_verbs.writer_of(tmp_path) is None


@pytest.mark.parametrize(
    ("command", "workers"),
    [(["--workers", "5"], 5), (["--workers=3"], 3), (["--asiarc-workers", "4"], 4), ([], 2), (["--workers"], 2)],
)
def test_workers_are_those_of_the_command(command, workers):
    assert archive_verbs._workers({"provenance": {"command": ["pytest", *command]}}) == workers


# --- compare ----------------------------------------------------------------------------------------------------------


def test_two_candidates_by_the_projects_own_effect(asked, result):
    """The deepest stage that has both; three entered it, which makes three pairs; nothing is called better."""
    (found,) = [one for one in asked("compare", "child", "parent", "--json")["effects"] if one["on"] == "verify, text"]
    here = result()
    mine, theirs = (here.scores(address_of(here, name), "verify")["text"] for name in ("child", "parent"))
    tasks = len(here.tasks("verify"))
    assert found["effect"] == paired_by_seed(mine, theirs, "text", num_comparisons=3 * tasks).as_dict()
    assert found["decision"] == "cannot tell" and found["effect"]["low"] > 0
    assert "which flatter it" in asked("compare", "child", "parent")


def test_a_winner_and_a_baseline_meet_in_confirm(asked, result):
    (found,) = asked("compare", "child", "mamba2", "--json")["effects"]
    assert found["effect"] == result().winner.gain_over("mamba2").as_dict() and found["decision"] == "better"
    (turned,) = asked("compare", "mamba2", "child", "--json")["effects"]
    assert turned["decision"] == "worse" and turned["effect"]["mean"] == -found["effect"]["mean"]


def test_two_campaigns_are_their_winners_on_common_seeds(asked, result):
    (found,) = asked("compare", "question", "grammars", "--json")["effects"]
    sides = (result(name).winner.values("text", "confirm") for name in ("question", "grammars"))
    assert found["effect"] == paired_by_seed(*sides, "text").as_dict() and found["on"] == "confirm, text"


def address_of(result, name):
    return next(row["address"] for row in result.proposals if row["name"] == name)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("question", "question"), "both are run .* name another run of it as question@RUN"),
        (
            ("question", "child"),
            "'question' is a campaign here and 'child' is none at tier smoke; give two of one kind",
        ),
        (("question@ffff", "question"), r"0 runs of question at tier smoke begin with 'ffff'; its runs: \w{16} of"),
        (("child", "nobody"), "no candidate 'nobody' in .*; asiarc show CAMPAIGN lists"),
        (("child", "child"), "is compared with itself"),
        (("child", "leaky"), "were trained together in no run at tier smoke"),
        (("child", "parent", "--metric", "acc"), "--metric chooses in sample logs"),
        (("a.jsonl", "child"), "'child' is no sample log, the other one is; give two samples_"),
    ],
)
def test_what_is_not_comparable_is_refused_with_the_reason(asked, words, reason):
    told = asked("compare", *words, status=1)
    assert re.search(reason, told), told


def test_runs_that_were_not_measured_alike_are_refused(asked, result):
    other_seed = result("question", which=0).run
    told = asked("compare", "question", f"question@{other_seed}", status=1)
    assert "0 common seeds" in told and "Run both on the same seeds" in told


def test_runs_are_held_against_their_plans_and_baselines(store, result, monkeypatch):
    from asiarc.analyst import pairs

    a, b = result("question"), result("grammars")
    alike = pairs._identity

    def changed(**fields):
        return lambda one: alike(one) | (fields if one.run == b.run else {})

    for fields, reason in (
        ({"plans": {}}, "the plan of confirm is not the same"),
        ({"tasks": {}}, "the task text is not the same"),
        ({"device": "cuda"}, "the runs differ in device"),
    ):
        monkeypatch.setattr(pairs, "_identity", changed(**fields))
        with pytest.raises(pairs.EvidenceError, match=reason):
            pairs.of_runs(a, b)
    monkeypatch.setattr(pairs, "_identity", changed(code="other"))
    assert pairs.of_runs(a, b), "a baseline of both scored the same, so nothing moved"
    values = CampaignResult.scores
    monkeypatch.setattr(
        CampaignResult, "scores", lambda one, address, stage: {
            task: {seed: v + (one.run == b.run) for seed, v in found.items()}
            for task, found in values(one, address, stage).items()
        },
    )  # fmt: skip
    with pytest.raises(pairs.EvidenceError, match=r"delta_net scored .* were not measured alike"):
        pairs.of_runs(a, b)


# --- lineage, diff, why-rejected --------------------------------------------------------------------------------------


def test_lineage_goes_to_the_start_and_to_the_children(asked, result):
    here = result("grammars")
    grown = next(row for row in here.proposals if row["parents"][0] not in (here.start, None))
    found = asked("lineage", grown["address"], "--json")
    assert found["line"][0]["address"] == here.start and found["line"][0]["number"] is None
    assert [one["address"] for one in found["line"]][-2:] == [grown["parents"][0], grown["address"]]
    gains, last = gains_of(here.archive, here.run, here.names, here.ranking_tasks("explore")), found["line"][-1]
    step = gains.over(grown["address"], grown["parents"][0])
    assert (last["step"], last["against_parent"]) == (pytest.approx(step.mean), step.than("its parent"))
    assert step.where in last["against_parent"] and " steps, seed" in last["standing"]
    assert {*last["added"]} ^ {*last["removed"]} and last["motivation"]
    parents = asked("lineage", grown["parents"][0], "--json")
    assert grown["address"] in [one["address"] for one in parents["children"]]
    assert "children" in asked("lineage", "delta_net")


def test_lineage_says_at_which_tier(asked, result):
    there = next(row["address"] for row in result("unfinished", "quick").proposals)
    told = asked("lineage", there, status=1) if there not in result("grammars").names else None
    assert told is None or "add --tier quick" in told
    assert "no candidate 'ffffffff'" in asked("lineage", "ffffffff", status=1)


def test_diff_names_the_choices_and_the_lines(asked):
    found = asked("diff", "parent", "child", "--json")
    assert found["genome"] == {"memory": ["delta", "ssd"]}
    assert "-GAIN = 0.3" in found["source"] and "+GAIN = 0.5" in found["source"]
    told = asked("diff", "parent", "child")
    assert told.startswith("memory: delta -> ssd")
    assert "the sources are the same" in asked("diff", "parent", "parent")


def test_why_rejected_answers_for_what_there_is(asked):
    found = asked("why-rejected", "question", "--json")
    assert found["counts"] == {"causality": 1} and [row["name"] for row in found["candidates"]] == ["leaky"]
    (one,) = asked("why-rejected", "question", "leaky", "--json")["candidates"]
    assert one["outcome"]["reason"] == "it looks ahead" and one["gates"][0]["gate"] == "causality"
    assert "0 of 1 not scored" in asked("why-rejected", "question", "child")
    for nobody in ("ffff", "", "%"):
        assert "asiarc show question lists the addresses" in asked("why-rejected", "question", nobody, status=1)


def test_what_was_bought_is_told_by_stage_and_by_trial(asked, result):
    told = asked("bought", "question", "--json")
    stages, trials = told["stages"], told["trials"]
    assert [row["stage"] for row in stages] == ["explore", "verify", "confirm"]
    assert len(trials) == sum(row["trials"] for row in stages)
    for row in stages:
        mine = [t for t in trials if t["used_in"] == row["stage"] and t["outcome"] == "scored"]
        tokens, spent_s = sum(t["tokens"] for t in mine), sum(t["train_s"] for t in mine)
        assert (row["tokens"], row["tokens_per_s"]) == (tokens, pytest.approx(tokens / spent_s))
        each = [t["mfu"] * t["train_s"] / spent_s for t in mine]  # all on one device
        assert row["mfu"] == pytest.approx(sum(each)) and row["energy_j"] is None
    assert "explore: " in asked("bought", "question") and "of the device's peak" in asked("bought", "question")


def test_an_address_is_one_candidates(asked):
    for several in ("", "%", "_"):
        asked("source", several, status=1)
    assert asked("source", "child", "--json")["source"] == CHILD


def test_a_table_at_sixty_columns_breaks_no_number(store, result, monkeypatch):
    from rich.console import Console

    screen = Console(width=60, record=True, markup=False, highlight=False, file=io.StringIO())
    monkeypatch.setattr(archive_verbs, "console", lambda: screen)
    rows = result("grammars").candidates
    archive_verbs._print_candidates(rows)
    drawn = screen.export_text()
    assert all(len(line) <= 60 for line in drawn.splitlines())
    assert all(f"{row['gain']:+.4f}" in drawn for row in rows)


# --- every verb -------------------------------------------------------------------------------------------------------


def leaves(command=main, path=()):
    for name, inner in command.commands.items():
        yield from leaves(inner, (*path, name)) if isinstance(inner, click.Group) else [((*path, name), inner)]


LEAVES = dict(leaves())


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_verb_can_answer_a_program(path):
    assert any("--json" in option.opts for option in LEAVES[path].params), "--json is missing"


def test_one_rule_for_tier_and_store(tmp_path, monkeypatch):
    """Smoke, and .asiarc in the root: pytest and every verb; a watcher follows whatever runs."""
    assert plugin.OPTIONS["tier"]["default"] == "smoke"
    tiers = {path: o.default for path, c in LEAVES.items() for o in c.params if "--tier" in o.opts}
    assert {path for path, tier in tiers.items() if tier != "smoke"} == {("watch",)}
    stores = {path: o.default for path, c in LEAVES.items() for o in c.params if "--store" in o.opts}
    assert {path for path, default in stores.items() if default is not project_store} == {("llm", "record")}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert project_store() == tmp_path / ".asiarc"


def test_commands_are_walked_as_the_surface_is():
    assert {f"asiarc {' '.join(path)}" for path in LEAVES} == {path for path, _ in commands(main, "asiarc")}


HEAVY = {"torch", "numpy", "scipy", "rich", "lm_eval", "pydantic", "jinja2", "pytest", "asiarc.execution"}


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from asiarc.harness.cli import main; main(['--help'], standalone_mode=False);"
        f"print('heavy:', sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert "heavy: []" in done.stdout and "watch" in done.stdout


@pytest.mark.parametrize("words", ["schema --json", "cognition search overwriting --json", "cognition check --json"])
def test_answers_for_programs_are_json_and_nothing_else(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, words.split())
    assert done.exit_code == 0 and json.loads(done.stdout)


def test_a_campaign_as_toml_and_as_json_is_the_same(tmp_path):
    file = tmp_path / "campaign_told.toml"
    file.write_text('start_from = "delta_net"\nbaselines = ["delta_net"]\nexplore = {tasks = ["text"]}\n'
                    'budget = {smoke = {candidates = 4, minutes = 1}}\n')  # fmt: skip
    python = tmp_path / "campaign_told.py"
    python.write_text(f"from pathlib import Path\nfrom asiarc.campaign.declaration import load_toml\n"
                      f"a = load_toml(Path({str(file)!r}))\n")  # fmt: skip
    texts = [CliRunner().invoke(main, ["spec", str(python), *more]).output for more in ([], ["--json"])]
    assert tomllib.loads(texts[0]) == json.loads(texts[1])
