"""Stages as items: run, failed, run again, interrupted, planned, set aside. Trials are the laboratory's."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.execution import Result
from asiarc.harness.session import Lab

from .fakes import FakeExecutor, Refusing, content, place_of

QUESTION = """\
import pytest
from asiarc import Budget, Campaign, Stage, by_tier

def test_ending(outcome, tier, archive, winner):
    assert tier == outcome.tier == "smoke"
    assert winner.address == outcome.stage("confirm")["winner"] == outcome.winner.address
    assert outcome.archive is archive

{name} = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(tasks=("text",)),
    verify=Stage(tasks=("text",), seeds=2, top=2),
    budget=by_tier(smoke=Budget(candidates={candidates}, minutes=5)),
)

@pytest.mark.tier("quick")
def test_larger(outcome):
    raise AssertionError("not at this tier")
"""


class Harness:
    """pytest on a folder, its trials answered by one fake executor."""

    def __init__(self, pytester, monkeypatch):
        self.pytester, self.monkeypatch = pytester, monkeypatch

    def write(self, text=QUESTION, file="campaign_a.py", *, name="question", candidates=4):
        self.pytester.path.joinpath(file).write_text(text.format(name=name, candidates=candidates))

    def run(self, *arguments, executor=None):
        self.executor = executor or FakeExecutor()
        self.monkeypatch.setattr(Lab, "executor", property(lambda lab: self.executor))
        return self.pytester.runpytest_inprocess("-rA", *arguments, no_reraise_ctrlc=True)

    def content(self, store=".asiarc"):
        return content(self.pytester.path / store)


@pytest.fixture
def harness(pytester, monkeypatch):
    harness = Harness(pytester, monkeypatch)
    harness.write()
    return harness


def failing_in(stage):
    """An executor whose machine loses one trial of a stage."""

    def lose(job):
        is_it = job.function.endswith(":train") and f"/{stage}/" in place_of(job.payload)
        return Result("infrastructure", None, "a worker went away") if is_it else None

    return FakeExecutor(ends=lose)


def passed(result):
    return [line.split(" ")[1].split("::", 1)[1] for line in result.outlines if line.startswith("PASSED ")]


def failed(result):
    return [line.split(" ")[1].split("::", 1)[1] for line in result.outlines if line.startswith("FAILED ")]


def test_a_campaign_from_collection_to_its_tests(harness):
    result = harness.run()
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=4, skipped=1)
    assert passed(result) == ["question::explore", "question::verify", "question::confirm", "test_ending"]
    result.stdout.fnmatch_lines(["SKIPPED*needs tier quick"])


def on_a_gpu(harness):
    """The question at the gpu tier too."""
    harness.write(QUESTION.replace("budget=by_tier(", "budget=by_tier(gpu=Budget(candidates=24, minutes=5), "))


def test_a_dry_run_passes_every_stage_and_keeps_nothing(harness):
    """With few candidates, on the smallest model, at the tier's own rungs in number; the tests have nothing to ask."""
    on_a_gpu(harness)
    result = harness.run("--tier", "gpu", "--dry-run")
    result.assert_outcomes(passed=3, skipped=2)
    stages = "explore, verify, confirm"
    result.stdout.fnmatch_lines([f"dry run at tier gpu: question passed {stages} of {stages}; no number is kept"])
    assert not (harness.pytester.path / ".asiarc").exists()
    recipes = [trial["recipe"] for trial in harness.executor.trials]
    assert {(recipe["d_model"], recipe["tokenizer"]) for recipe in recipes} == {(32, "bytes")}
    assert {recipe["steps"] for recipe in recipes} == {2, 3} and {t["documents"] for t in harness.executor.trials} == {
        4
    }
    assert sum(job.function.endswith(":admission") for job in harness.executor.jobs) <= 6
    assert harness.run("--tier", "gpu", "--dry-run", "--plan").ret == pytest.ExitCode.USAGE_ERROR


def test_a_gpus_tier_is_refused_where_there_is_none_unless_it_was_said(harness, monkeypatch):
    on_a_gpu(harness)
    monkeypatch.setattr("asiarc.harness.options.device_type", lambda: "cpu")
    monkeypatch.delenv("ASIARC_DEVICE", raising=False)
    result = harness.pytester.runpytest_inprocess("--tier", "gpu", "-k", "explore")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*tier gpu trains at a GPU's sizes and torch finds none here. --plan says*ASIARC_DEVICE=cpu*"]
    )
    monkeypatch.setenv("ASIARC_DEVICE", "cpu")
    harness.run("--tier", "gpu", "-k", "explore").assert_outcomes(passed=1)


def test_again_nothing_is_left_to_do(harness):
    harness.run()
    before = harness.content()
    result = harness.run(executor=Refusing())
    result.assert_outcomes(passed=4, skipped=1)
    assert harness.content() == before


@pytest.mark.parametrize("selected", [["-k", "verify"], ["campaign_a.py::question::verify"]])
def test_a_stage_that_is_asked_for_alone_brings_what_it_needs(harness, selected):
    result = harness.run(*selected)
    assert passed(result) == ["question::verify"]
    with Archive(harness.pytester.path / ".asiarc", write=False) as archive:
        run = archive.runs()[0]["run"]
        assert archive.stage_result(run, "explore") and not archive.stage_result(run, "confirm")


def test_a_test_that_is_asked_for_alone_runs_its_campaign(harness):
    result = harness.run("-k", "ending")
    assert passed(result) == ["test_ending"]
    assert harness.run(executor=Refusing()).ret == 0


def test_last_failed_reruns_the_failed_stages_and_no_others(harness):
    result = harness.run(executor=failing_in("verify"))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert passed(result) == ["question::explore"]
    assert failed(result) == ["question::verify", "question::confirm"]
    done = set(harness.executor.log)
    again = harness.run("--lf")
    assert again.ret == 0
    assert passed(again) == ["question::verify", "question::confirm", "test_ending"]
    explore = {job for job in done if "/verify/" not in job}
    assert explore and not explore & set(harness.executor.log)


def test_failed_first_and_stepwise_take_stages_too(harness):
    harness.run("--stepwise", executor=failing_in("confirm"))
    again = harness.run("--stepwise")
    assert passed(again) == ["question::confirm", "test_ending"]


def test_a_failure_is_told_in_words(harness):
    result = harness.run("-k", "explore", executor=failing_in("explore"))
    assert failed(result) == ["question::explore"]
    result.stdout.fnmatch_lines(["campaign_a.py::question::explore: *a worker went away*run the same command again"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_an_interruption_is_pytests_and_the_same_command_goes_on(harness):
    reference = FakeExecutor()
    harness.run("--store", "whole", executor=reference)
    result = harness.run(executor=FakeExecutor(interrupt_at=7))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    first = harness.executor.log
    assert len(first) == 7
    assert harness.run().ret == pytest.ExitCode.OK
    assert sorted(first + harness.executor.log) == sorted(reference.log)
    assert harness.content() == harness.content("whole")


ANSWER = ("winner", "baseline", "task", "decision", "gain", "low", "high", "n")


def test_junit_carries_the_run(harness):
    harness.run("--junitxml", "out.xml", "-o", "junit_family=xunit1")
    cases = {case.get("name"): case for case in ElementTree.parse(harness.pytester.path / "out.xml").iter("testcase")}
    assert {"explore", "verify", "confirm", "test_ending"} <= cases.keys()
    with Archive(harness.pytester.path / ".asiarc", write=False) as archive:
        run = archive.runs()[0]["run"]
    for stage, entrants in (("explore", "4"), ("verify", "2"), ("confirm", "1")):
        properties = {p.get("name"): p.get("value") for p in cases[stage].iter("property")}
        answered = {name: properties.pop(name) for name in ANSWER if name in properties}
        assert properties == {"asiarc_run": run, "tier": "smoke", "entrants": entrants}
        assert set(answered) == (set(ANSWER) if stage == "confirm" else set())
    assert answered["decision"] == "better" and answered["n"] == "2" and answered["baseline"] == "delta_net"
    assert 0 < float(answered["low"]) < float(answered["gain"]) < float(answered["high"])


def test_a_session_ends_with_the_answer_of_each_campaign(harness):
    result = harness.run("-q")
    (line,) = [line for line in result.outlines if line.startswith("question at smoke: ")]
    (confirmed,) = [line for line in line.split("; ") if "report: " not in line]
    with Archive(harness.pytester.path / ".asiarc", write=False) as archive:
        gain = CampaignResult.load(archive, archive.runs()[0]["run"]).winner.gain_over("delta_net")
    assert f"is better than delta_net by {gain.mean:+.4f} bits a byte" in confirmed, "two pairs give no interval"
    assert confirmed.endswith("on text, n = 2")


def test_the_answer_names_the_report_which_is_drawn_once(harness):
    harness.pytester.makeini("[pytest]\nasiarc_paths = .\n")
    page = harness.pytester.path / ".asiarc" / "reproduction" / "smoke" / "report.html"
    result = harness.run()
    result.stdout.fnmatch_lines([f"question at smoke: *; report: {page}"])
    drawn = page.stat().st_mtime_ns
    harness.run()
    assert page.stat().st_mtime_ns == drawn and "is better than delta_net" in page.read_text()


def test_a_session_that_stops_early_says_what_is_not_finished(harness):
    result = harness.run("-k", "explore")
    result.stdout.fnmatch_lines(["question at smoke: no winner: verify is not finished; *"])


def test_fresh_sets_the_archive_aside_and_starts_again(harness):
    harness.run()
    jobs, before = harness.executor.log, harness.content()
    result = harness.run("--fresh")
    result.stdout.fnmatch_lines(["the earlier archive is kept in *.asiarc-1"])
    assert harness.executor.log == jobs
    assert harness.content() == harness.content(".asiarc-1") == before
    harness.run("--fresh")
    assert harness.content(".asiarc-2") == before


def test_fresh_leaves_an_archive_alone_that_is_being_written_to(harness):
    folder = harness.pytester.path / ".asiarc"
    with Archive(folder):
        result = harness.run("--fresh", "-k", "explore")
    assert failed(result) == ["question::explore"]
    result.stdout.fnmatch_lines(["*process * is writing to the archive in *"])
    assert [path.name for path in harness.pytester.path.glob(".asiarc*")] == [".asiarc"]


def test_fresh_is_the_way_out_of_a_broken_archive(harness):
    folder = harness.pytester.path / ".asiarc"
    folder.mkdir()
    (folder / "archive.db").write_bytes(b"not a database, but longer than a header of one" * 9)
    result = harness.run("-k", "explore")
    assert failed(result) == ["question::explore"]
    result.stdout.fnmatch_lines(["*cannot be used: file is not a database*"])
    assert passed(harness.run("-k", "explore", "--fresh")) == ["question::explore"]


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_plan_says_what_would_be_done_and_does_none_of_it(harness, quiet):
    result = harness.run("--plan", *quiet, executor=Refusing())
    assert result.ret == pytest.ExitCode.OK
    rows = [line.split() for line in result.outlines if line.strip().startswith("campaign_a.py::")]
    assert [row[0].rpartition("::")[2] for row in rows] == ["explore", "verify", "confirm"]
    assert [row[1] for row in rows] == ["4", "0", "0"] and {row[-1] for row in rows} == {"no"}
    # explore: 4 candidates, and the baseline on the three seeds that gains are measured against;
    # verify: 2 and 1 on two seeds; confirm: 1 and 1 on two seeds
    assert [row[2] for row in rows] == ["7", "6", "4"]
    assert not (harness.pytester.path / ".asiarc").exists()
    harness.run("-k", "verify")
    assert len([job for job in harness.executor.jobs if job.function.endswith(":train")]) == 7 + 6
    rows = [
        line.split()
        for line in harness.run("--plan", *quiet, executor=Refusing()).outlines
        if line.strip().startswith("campaign_a.py::")
    ]
    assert [row[-1] for row in rows] == ["yes", "yes", "no"]


def test_a_plan_of_a_broken_declaration_is_an_error(harness):
    harness.write(QUESTION.replace("seeds=2", "sedes=2"))
    assert harness.run("--plan", executor=Refusing()).ret == pytest.ExitCode.INTERRUPTED


def test_a_search_without_survivors_fails_and_says_where_to_look(harness):
    def reject(job):
        if job.function.endswith("admission") and "DeltaNet:" not in job.payload["source"]:
            return Result("timed_out", None, "exceeded 90 s of CPU time")
        return None

    result = harness.run("-k", "explore", executor=FakeExecutor(ends=reject))
    assert failed(result) == ["question::explore"]
    result.stdout.fnmatch_lines(["*none of 4 candidates was scored; asiarc why-rejected lists the reasons*"])


def test_two_files_may_use_one_name(harness):
    """Each is answered from its own declaration."""
    harness.write(file="campaign_b.py", candidates=5)
    harness.run("-k", "explore")
    with Archive(harness.pytester.path / ".asiarc", write=False) as archive:
        counts = {archive.stage_result(run["run"], "explore")["candidates"] for run in archive.runs("question")}
    assert counts == {4, 5}


def test_two_campaigns_in_a_file_leave_outcome_undecided(harness):
    second = QUESTION[QUESTION.index("{name} =") : QUESTION.index("@pytest")].replace("{name}", "other")
    harness.write(QUESTION + "\n\n" + second)
    result = harness.run()
    result.assert_outcomes(passed=6, errors=1, skipped=1)
    result.stdout.fnmatch_lines(["*declares 2 campaigns; the outcome fixture needs exactly one in the file*"])


def test_toml_runs_as_python_does(harness):
    harness.pytester.path.joinpath("campaign_a.py").unlink()
    harness.pytester.path.joinpath("campaign_question.toml").write_text(
        'start_from = "delta_net"\nbaselines = ["delta_net"]\nexplore = { tasks = ["text"] }\n'
        'verify = { tasks = ["text"], seeds = 2, top = 2 }\nbudget = { smoke = { candidates = 4, minutes = 5 } }\n'
    )
    result = harness.run("--store", "toml")
    assert passed(result) == ["question::explore", "question::verify", "question::confirm"]
    harness.write()
    harness.run("campaign_a.py", "--store", "python")
    assert harness.content("toml") == harness.content("python")


def test_a_tier_that_is_none_is_told(harness):
    harness.write(QUESTION.replace('tier("quick")', 'tier("quik")'))
    result = harness.run("-k", "larger", executor=Refusing())
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*unknown tier 'quik'. Did you mean 'quick'?*"])


def test_a_failing_expectation_is_an_ordinary_failure(harness):
    harness.write(QUESTION + "\ndef test_wrong(outcome):\n    assert outcome.evaluated == 99\n")
    result = harness.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert failed(result) == ["test_wrong"]
    result.stdout.fnmatch_lines(["*assert 4 == 99*"])


def test_progress_is_shown_past_capture_and_hushed_by_q(harness):
    result = harness.run("-k", "explore")
    result.stdout.fnmatch_lines(["*question explore*tier smoke*", "*generation 0: 4 of 4 scored*"])
    harness.run("--fresh", "-q", "-k", "explore").stdout.no_fnmatch_line("*generation 0*")
