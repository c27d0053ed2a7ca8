"""Judged jobs: two processes in the sandbox, one outside, and what passes between them."""

from pathlib import Path

import pytest

from asiarc.execution import InlineExecutor, Job, Limits


def judged(first="keeps", then="tells", referee="referee", payload=None, secret=None, **limits):
    return Job(
        f"sandbox_jobs:{first}", payload or {}, Limits(**{"wall_s": 60, "cpu_s": 60} | limits),
        then=f"sandbox_jobs:{then}", referee=f"sandbox_jobs:{referee}", secret=secret or {},
    )  # fmt: skip


def ran(executor, *arguments, **named):
    return executor.run([judged(*arguments, **named)])[0]


def test_the_value_is_the_referees(executor):
    result = ran(executor, payload={"shown": 1}, secret={"due": "the answer"})
    assert result.status == "ok", result.reason
    assert result.value["secret"] == {"due": "the answer"}
    assert result.value["answers"] == ["00", "11", "22"]
    assert result.value["told"]["payload"] == ["shown"]
    assert result.cpu_s == pytest.approx(sum(result.parts_cpu_s)) and len(result.parts_cpu_s) == 3


def test_the_second_process_has_what_was_kept_and_nothing_else(executor):
    told = ran(executor).value["told"]
    assert told["kept"] == "what was kept"
    assert told["files"] == ["kept"]
    assert told["calls"] == 0, "the first process's memory is gone"


def test_the_folders_above_are_closed(executor):
    result = ran(executor, payload={"above": True})
    if "landlock" in result.layers:
        assert result.status == "crashed" and "PermissionError" in result.reason


@pytest.mark.parametrize("value", [{"metric": "bits_per_byte", "value": 0.5}, {"value": {"told": 1}}])
def test_what_the_first_process_returns_is_nobodys_value(executor, value):
    assert "metric" not in ran(executor, payload={"value": value}).value


@pytest.mark.parametrize(
    ("first", "then", "referee", "said"),
    [
        ("keeps_nothing", "tells", "referee", "before its referee was done"),
        ("keeps", "hangs_up", "referee", "before its referee was done"),
        ("keeps", "says_half", "referee", "exit code 0 and no result"),
        ("keeps", "says_too_much", "referee_hears", "LineError"),
        ("keeps", "floods_the_line", "referee_hears", "LineError"),
        ("keeps", "dies_after_the_end", "referee", "SIGKILL"),
        ("fails_like_a_user", "tells", "referee", "unknown task 'txt'"),
    ],
)
def test_what_goes_wrong_in_the_sandbox_is_the_jobs_own_and_never_a_value(executor, first, then, referee, said):
    result = ran(executor, first, then, referee)
    assert (result.status, result.value) == ("crashed", None)
    assert said in result.reason


def test_silence_ends_with_the_jobs_time(executor):
    result = ran(executor, then="falls_silent", wall_s=0.5)
    assert (result.status, result.value) == ("timed_out", None)


def test_a_fault_of_the_referee_is_no_fault_of_the_job(executor):
    result = ran(executor, referee="referee_fails")
    assert (result.status, result.value) == ("infrastructure", None)
    assert "a fault of ours" in result.reason


@pytest.mark.parametrize("referee", ["referee_dies", "referee_babbles"])
def test_without_a_verdict_there_is_no_value(executor, referee):
    """The job has said what its value should be, and is not believed."""
    result = ran(executor, then="says_at_once", referee=referee)
    assert (result.status, result.value) == ("infrastructure", None)
    assert "without a verdict" in result.reason


def test_a_kept_link_leads_nowhere(executor, tmp_path):
    (tmp_path / "held out").write_text("held out")
    result = ran(
        executor, "keeps_a_link", "reads_the_kept", "referee_hears", payload={"to": str(tmp_path / "held out")}
    )
    assert "held out" not in str(result.value)


def test_after_any_of_them_the_worker_goes_on(executor):
    jobs = [judged("keeps", then, "referee_hears") for then in ("hangs_up", "says_half", "floods_the_line")]
    results = executor.run([*jobs, judged(), Job("sandbox_jobs:echo", {"i": 1})])
    assert results[-1].value == {"i": 1} and results[-2].value["answers"] == ["00", "11", "22"]


def test_inline_plays_all_three_parts(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    before = Path.cwd()
    result = ran(InlineExecutor(), payload={"shown": 1}, secret={"due": 1})
    assert result.status == "ok", result.reason
    assert result.value["secret"] == {"due": 1} and result.value["told"]["kept"] == "what was kept"
    assert Path.cwd() == before
    assert ran(InlineExecutor(), "fails_like_a_user").status == "crashed"
    assert ran(InlineExecutor(), then="hangs_up").status == "crashed"


def test_a_line_has_two_ends():
    with pytest.raises(AssertionError, match="two ends"):
        Job("a:b", {}, then="a:c")
