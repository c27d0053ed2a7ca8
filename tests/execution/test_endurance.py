"""Kills at random moments, Ctrl-C, and other numbers of workers; and that the comparison would notice."""

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from asiarc.archive import store
from asiarc.core.errors import ExecutionError
from tests.rigs.sandbox import endurance
from tests.rigs.sandbox.endurance import Stand, differing, interrupt_and_resume, kill_and_resume, resume


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    return Stand.in_(tmp_path_factory.mktemp("stand"), real=False)


@pytest.fixture(scope="module")
def whole(stand):
    """What an uninterrupted run leaves, and the seconds that it took."""
    length_s = stand.finish("whole", "--workers", "2")
    return stand.content("whole"), length_s


def test_the_rehearsal_goes_through_everything(whole):
    content, _ = whole
    kinds = {json.loads(row)["outcome"] for row in content["results"]}
    assert {"scored", "rejected", "crashed"} <= kinds
    stages = {json.loads(row)["stage"] for row in content["trials"]}
    assert stages == {"explore", "verify", "verify tuning", "confirm"}
    assert len(content["proposals"]) == 16 and len(content["items"]) > 20 and len(content["stages"]) == 3
    assert content["report"]["campaigns"][0]["finished"]
    assert not any("created_at" in row for row in content["trials"])
    schema = Path(store.__file__).with_name("schema.sql").read_text()
    assert set(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", schema)) <= content.keys()


@pytest.mark.parametrize("number", range(2))  # the rig of this name kills for as long as it is told to
def test_a_kill_at_a_random_moment_leaves_no_trace(stand, whole, number):
    kill = kill_and_resume(stand, *whole, 1, number)
    assert kill.wrong == (), str(kill)
    assert kill.paid == len(whole[0]["trials"]) + len(whole[0]["admissions"])


def test_one_interrupt_finishes_the_step_and_says_how_to_go_on(stand, whole):
    kill = interrupt_and_resume(stand, whole[0], "interrupted")
    assert kill.wrong == (), str(kill)
    assert 0 < kill.kept < kill.paid
    assert "the same command goes on from there" in (stand.folder / "interrupted.first.log").read_text()


def test_one_worker_and_one_stage_at_a_time_give_the_same(stand, whole):
    for stage in ("explore", "verify", "confirm"):
        stand.finish("stages", "--workers", "1", "-k", stage)
    assert differing(whole[0], stand.content("stages")) == []


def test_a_second_harness_on_one_store_is_refused_and_the_first_goes_on(stand, whole):
    first = stand.start("shared", "--workers", "2")
    while not (stand.folder / "shared" / "archive.db").exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.wait(0.05)
            raise AssertionError("it ended before it had an archive")
    first.send_signal(signal.SIGSTOP)  # it holds the archive for as long as this takes
    with pytest.raises(ExecutionError, match=rf"process {first.pid} is writing to the archive"):
        stand.finish("shared", "--workers", "1")
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    assert differing(whole[0], stand.content("shared")) == []


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        ("UPDATE trials SET value = value + 1e-9 WHERE stage = 'confirm'", {"trials", "report"}),
        ("UPDATE insights SET insight = json_set(insight, '$.text', 'else')", {"insights"}),
        ("DELETE FROM uses WHERE stage = 'verify tuning'", {"uses"}),
        ("UPDATE proposals SET parents = '[]'", {"proposals"}),
        ("UPDATE trials SET wall_s = 0, cpu_s = 0, created_at = 'never'", set()),
    ],
    ids=["value", "insight", "use", "lineage", "times"],
)
def test_a_difference_would_be_noticed(stand, whole, tmp_path, change, noticed):
    store = tmp_path.name
    subprocess.run(["cp", "-r", str(stand.folder / "whole"), str(stand.folder / store)], check=True)
    db = sqlite3.connect(stand.folder / store / "archive.db")
    db.execute(change)
    db.commit()
    db.close()
    found = set(differing(whole[0], stand.content(store)))
    assert noticed <= found and bool(noticed) == bool(found)


def test_another_run_is_called_one(whole):
    """Editing the search while this is shown moves the run's identity: that is no fault of the harness."""
    content, _ = whole
    run = json.loads(content["runs"][0])
    moved = json.dumps({**json.loads(run["identity"]), "search": "edited"})
    other = {**content, "runs": [json.dumps({**run, "run": "another", "identity": moved})]}
    (said,) = differing(content, other)
    assert "identity moved in search:" in said and "edited" in said


def test_a_half_written_log_would_be_noticed(stand, whole):
    subprocess.run(["cp", "-r", str(stand.folder / "whole"), str(stand.folder / "half")], check=True)
    path = next((stand.folder / "half" / "items").glob("*/*"))
    path.unlink()
    assert differing(whole[0], stand.content("half")) == ["items"]


def test_work_that_is_done_twice_would_be_noticed(stand, whole, monkeypatch):
    """A harness that forgets a trial and pays for it again gives an equal report: the rows' own numbers tell."""
    def forgetful(self, store, *options):
        db = sqlite3.connect(self.folder / store / "archive.db")
        db.execute("UPDATE admissions SET cpu_s = cpu_s + 0.001")
        db.commit()
        db.close()
        return 0.0

    monkeypatch.setattr(Stand, "finish", forgetful)
    subprocess.run(["cp", "-r", str(stand.folder / "whole"), str(stand.folder / "twice")], check=True)
    (wrong,) = resume(stand, whole[0], "twice", 0.0).wrong
    assert wrong.startswith("paid for twice: admissions")


def test_a_process_that_stays_would_be_noticed(stand, monkeypatch):
    monkeypatch.setattr(endurance, "GONE_S", 0.1)
    code = "import sys; sys.stdin.read()"
    command = [sys.executable, "-c", code, str(stand.folder / "scratch")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert stand.left_over() == [f"process {process.pid}"]
        process.kill()
    assert stand.left_over() == []
