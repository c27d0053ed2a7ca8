"""Checkpoints on their shelf: what outlives a job, who may write it, and what a cheat gains by it, which is nothing."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.execution import Job, Limits
from asiarc.execution.shelf import FORGOTTEN_S, Keeper, Saved, Shelf, sweep

MOST = 1000


@pytest.fixture
def shelf(tmp_path):
    return Shelf(str(tmp_path / "checkpoints" / "this trial"), MOST, 0.0)


def opened(shelf, spent=(0.0, 0.0)):
    """A keeper that an attempt's end leaves as it is: nothing is tidied up, and the folder is free again."""
    keeper = Keeper(shelf, shelf.opened())
    fcntl.flock(keeper._folder, fcntl.LOCK_UN)
    keeper.watch(lambda: spent)
    return keeper


def saved(shelf, *steps, spent=(0.0, 0.0)):
    """A shelf on which an attempt saved something after each of these steps, and was killed."""
    keeper = opened(shelf, spent)
    for step in steps:
        keeper.here().save(step, 8, [b"step", b"%4d" % step])
    keeper.close()
    return shelf


def files(shelf):
    return sorted(Path(shelf.folder).iterdir(), key=lambda path: int(path.name.partition("-")[0]))


# --- what is offered --------------------------------------------------------------------------------------------------


def test_the_last_that_is_whole_is_offered_and_two_are_kept(shelf):
    assert opened(shelf).file is None
    keeper = opened(saved(shelf, 3, 5, 9))
    assert keeper.offered.step == 9 and keeper.file.read_bytes() == b"step   9"
    assert [path.read_bytes() for path in files(shelf)] == [b"step   5", b"step   9"]
    assert keeper.notes == []


@pytest.mark.parametrize(("bent", "offered"), [([-1], 5), ([0], 9), ([0, 1], 0)])
@pytest.mark.parametrize("how", ["a bit", "torn", "renamed", "another's"])
def test_what_is_not_as_it_was_written_is_passed_over(shelf, tmp_path, bent, offered, how):
    """A step, a count of seconds, a byte that was changed by hand, and a neighbour's file."""
    other = saved(replace(shelf, folder=str(tmp_path / "another trial")), 5, 9)
    saved(shelf, 5, 9)
    for path, theirs in [(files(shelf)[index], files(other)[index]) for index in bent]:
        if how == "a bit":
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        elif how == "torn":
            path.write_bytes(path.read_bytes()[:-1])
        elif how == "renamed":
            path.rename(path.with_name(f"1{path.name}"))
        else:
            path.unlink()
            theirs.rename(path.with_name(theirs.name))
    keeper = opened(shelf)
    assert keeper.offered.step == offered
    assert len(keeper.notes) == len(bent) and "passed over" in keeper.notes[0]
    assert len(files(shelf)) == 2 - len(bent)


@settings(deadline=None, max_examples=30)
@given(cut=st.integers(0, 200), pieces=st.lists(st.integers(1, 40), min_size=1))
def test_whatever_the_moment_of_the_kill_the_last_whole_one_is_there(cut, pieces):
    """The bytes of three checkpoints come in pieces of any size, and end anywhere."""
    sent = bytearray()
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(f"{folder}/it", MOST, 0.0)
        keeper = opened(shelf)
        here = keeper.here()
        here._send = sent.extend
        for step in (1, 2, 3):
            here.save(step, 50, [bytes([step]) * 50])
        sent, at = sent[:cut], 0
        for size in pieces * len(sent):
            keeper.accept(bytes(sent[at : (at := at + size)]))
            assert len(list(Path(shelf.folder).iterdir())) <= 2
        if keeper._draft:
            keeper._draft._file.close()
        again = opened(shelf)
        whole = cut // 66
        assert again.offered.step == whole and again.notes == []
        assert whole == 0 or again.file.read_bytes() == bytes([whole]) * 50
        again.close()


# --- what is refused --------------------------------------------------------------------------------------------------


def test_only_what_goes_further_is_kept(shelf):
    """A cheat is offered step 9 and says that it stands at step 2, to be trained for longer after the next kill."""
    keeper = opened(saved(shelf, 9))
    for step in (2, 9, 10):
        keeper.here().save(step, 8, [b"rewound "])
    keeper.close()
    assert [path.read_bytes() for path in files(shelf)] == [b"step   9", b"rewound "]
    assert opened(shelf).offered.step == 10
    assert keeper.notes == [f"a checkpoint was not kept: step {step} is not beyond step 9" for step in (2, 9)]


def test_what_is_too_large_or_comes_too_often_is_not_written(shelf):
    keeper = opened(replace(shelf, every_s=1e6))
    keeper.here().save(1, MOST + 1, [b"x" * (MOST + 1)])
    for step in range(2, 30):
        keeper.here().save(step, 8, [b"%8d" % step])
    keeper.close()
    assert [path.read_bytes() for path in files(shelf)] == [b"       2"]
    assert "allowed are 1,000" in keeper.notes[0] and "sooner than every" in keeper.notes[1] and len(keeper.notes) == 2


def test_noise_is_no_checkpoint(shelf):
    keeper = opened(saved(shelf, 4))
    keeper.accept(random.Random(0).randbytes(100_000))
    keeper.close()
    assert [path.read_bytes() for path in files(shelf)] == [b"step   4"]


def test_a_full_disk_is_told_and_the_last_one_stays(shelf):
    """The kernel refuses the write, as a full disk does, until there is room again."""
    keeper = opened(saved(shelf, 1, 2), spent=(1.0, 1.0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        keeper.here().save(3, 40, [b"x" * 40])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.read_bytes() for path in files(shelf)] == [b"step   2"]
    assert "File too large" in keeper.notes[0]
    keeper.here().save(4, 40, [b"y" * 40])
    assert [path.read_bytes()[:6] for path in files(shelf)] == [b"step  ", b"yyyyyy"]


# --- in the sandbox ---------------------------------------------------------------------------------------------------


def counting(shelf, payload=None, **limits):
    return Job("sandbox_jobs:counts", payload or {}, Limits(**{"wall_s": 60, "cpu_s": 60} | limits), shelf=shelf)


def test_the_next_attempt_goes_on_and_seconds_are_summed(executor, shelf):
    first, second = (executor.run([counting(shelf, {"die_at": at})])[0] for at in (4, None))
    assert first.status == "crashed" and "SIGKILL" in first.reason
    assert second.value == {"began": 3, "counted": "0123456789"}, "what came after its last checkpoint is done again"
    assert [note.partition(" after")[0] for note in second.notes] == ["went on from step 3"]
    saved(replace(shelf, folder=f"{shelf.folder}-2"), 3, spent=(40.0, 20.0))
    [third] = executor.run([counting(replace(shelf, folder=f"{shelf.folder}-2"))])
    assert third.status == "ok" and 40 < third.cpu_s < 60 and 20 < third.wall_s < 60


def test_a_job_whose_worker_dies_goes_on(executor, shelf):
    """The executor tries it again by itself."""
    done = threading.Event()

    def kill_its_worker():
        while not done.wait(0.002):
            if list(Path(shelf.folder).glob("5-*")):
                for worker in psutil.Process().children():
                    if len(worker.children(recursive=True)) >= 2:  # a supervisor and a job
                        worker.kill()
                return

    killer = threading.Thread(target=kill_its_worker)
    killer.start()
    try:
        [result] = executor.run([counting(shelf, {"wait_at": 5})])
    finally:
        done.set()
        killer.join()
    assert result.value == {"began": 5, "counted": "0123456789"}


def test_what_was_spent_before_counts_against_the_limits(executor, shelf):
    [result] = executor.run([counting(saved(shelf, 3, spent=(1.0, 59.95)), {"wait_at": 4})])
    assert result.status == "timed_out" and result.wall_s >= 60


def test_a_job_reaches_nothing_of_its_shelf_but_what_it_is_offered(executor, shelf, tmp_path):
    neighbour = saved(replace(shelf, folder=str(tmp_path / "checkpoints" / "other")), 3)
    paths = [shelf.folder, f"{shelf.folder}/draft", str(files(neighbour)[0])]
    [result] = executor.run([counting(saved(shelf, 3), {"reach": [*paths, str(files(shelf)[0])]})])
    if "landlock" in result.layers:
        assert result.value["reached"] == ["", "", "", "reads"]


def test_where_no_checkpoint_can_be_kept_the_job_runs_and_it_is_told(executor, tmp_path):
    (tmp_path / "a file").touch()
    [result] = executor.run([counting(Shelf(str(tmp_path / "a file" / "it"), MOST, 0.0))])
    assert result.value == {"began": 0, "counted": "0123456789"}
    assert "Not a directory" in result.notes[0] and "training so far" in result.notes[0]


def test_a_job_with_a_shelf_travels_as_text(shelf):
    for job in (counting(shelf), Job("a:b", {})):
        assert Job.from_text(job.as_text()) == job


# --- and afterwards ---------------------------------------------------------------------------------------------------


def test_shelves_of_what_is_over_or_forgotten_are_removed(tmp_path):
    parent = tmp_path / "checkpoints"
    for name in ("over", "running", "forgotten"):
        saved(Shelf(str(parent / name), MOST, 0.0), 1)
    os.utime(parent / "forgotten", (0, parent.stat().st_mtime - FORGOTTEN_S - 1))
    sweep(parent, lambda name: name == "over")
    assert [path.name for path in parent.iterdir()] == ["running"]
    sweep(parent, lambda name: True)
    assert not parent.exists()
    sweep(parent, lambda name: True)


def test_a_name_says_what_it_stands_for():
    for one in (Saved(), Saved(12, 3.25, 1e5)):
        assert Saved.named(f"{one}-abc") == (one, "abc")
