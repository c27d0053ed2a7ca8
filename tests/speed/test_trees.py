"""Comparing trees: what is loaded is what was asked for, and nothing red is timed. No clock is read here."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import asiarc
from asiarc.speed import NotMeasuredError, SpeedError, machine
from asiarc.speed.cases import shipped
from asiarc.speed.paired import Ratio
from asiarc.speed.worker import WorkerError
from tests.rigs.kernels import trees
from tests.rigs.kernels.__main__ import main
from tests.rigs.kernels.trees import tree_worker, wrong

ROOT = Path(asiarc.__file__).parent.parent
CASE = shipped("gated_delta_rule", 1, 40, 1, 8)


def run_git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """A repository with two commits on main and one on a branch."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run_git(folder, "init", "-q", "-b", "main")
    for i in range(2):
        (folder / "file").write_text(str(i))
        run_git(folder, "add", "file")
        run_git(folder, "commit", "-q", "-m", str(i))
    return folder


def test_the_baseline_is_the_merge_base_or_the_commit_before(repository):
    def commit(name):
        return trees.git("rev-parse", name, root=repository)

    assert trees.baseline_commit(None, repository) == commit("main~1")
    run_git(repository, "checkout", "-q", "-b", "work")
    run_git(repository, "commit", "-q", "--allow-empty", "-m", "work")
    assert trees.baseline_commit(None, repository) == commit("main")
    assert trees.baseline_commit("main~1", repository) == commit("main~1")
    with pytest.raises(SpeedError, match="no_such_commit"):
        trees.baseline_commit("no_such_commit", repository)


def test_a_repository_of_one_commit_has_no_baseline(tmp_path):
    run_git(tmp_path, "init", "-q", "-b", "main")
    run_git(tmp_path, "commit", "-q", "--allow-empty", "-m", "only")
    with pytest.raises(SpeedError, match="--against"):
        trees.baseline_commit(None, tmp_path)


def test_a_worktree_is_the_commit_and_goes_away(repository):
    with trees.worktree(trees.baseline_commit("main~1", repository), repository) as tree:
        assert (tree / "file").read_text() == "0"
    assert not tree.exists()
    assert len(trees.git("worktree", "list", root=repository).splitlines()) == 1


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """This tree's package elsewhere, with one operator wrong and one missing."""
    tree = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("__pycache__", "*.toml")
    for name in ("asiarc", "kernels"):
        folder = ROOT / name if (ROOT / name).exists() else Path(asiarc.__file__).parent / name
        shutil.copytree(folder, tree / name, ignore=ignore)
    operator = tree / "kernels/delta_rule.py"
    text, right = operator.read_text(), '_OPERATOR = Recurrence("delta_rule")\n'
    assert right in text
    wrong = (
        "from asiarc.kernels.chunked import chunked\n\n\n"
        "def wrong(*x):\n    o, s = chunked(*x)\n    return o * 1.01, s\n\n\n"
        '_OPERATOR = Recurrence("delta_rule", chunk=wrong)\n'
    )
    operator.write_text(text.replace(right, wrong))
    (tree / "kernels/kda.py").unlink()
    return tree


def test_a_worker_runs_the_tree_it_was_given_and_knows_what_is_wrong(copy):
    with tree_worker(copy) as worker:
        assert trees.ready(worker, copy, CASE) == ""
        files = worker.ask("prepare", case=CASE.plain, sets=1)["files"]
        assert any(file.endswith("kernels/gated_delta_rule.py") for file in files)
        assert all(Path(file).is_relative_to(copy) for file in files)
        assert "loaded from elsewhere" in trees.ready(worker, copy / "asiarc", CASE)
        assert "errors above" in trees.ready(worker, copy, shipped("delta_rule", 1, 40, 1, 8))
        # The installed package has this operator; a worker must not fall back to it.
        missing = trees.ready(worker, copy, shipped("kda", 1, 40, 1, 8))
        assert "does not run" in missing or "loaded from elsewhere" in missing


def test_wrong_results_and_missing_baselines_are_red_and_get_no_time(copy):
    found = trees.compare_once(copy, copy, shipped("delta_rule", 1, 40, 1, 8))
    assert found.failed and found.base_ms is None and math.isnan(found.ratio.ratio)
    assert "RED, not timed" in found.line() and " ms" not in found.line()


def test_a_folder_without_a_tree_cannot_be_loaded(tmp_path):
    with pytest.raises(WorkerError, match="no asiarc/__init__"):
        tree_worker(tmp_path)


def test_only_slower_and_red_fail():
    for verdict, failed in (("ok", False), ("not measured", False), ("slower", True)):
        assert trees.Compared(CASE, Ratio(1, 1, 1, 16, verdict)).failed is failed
    assert trees.Compared(CASE, Ratio.nothing("red"), "no baseline").failed


def test_not_finite_errors_are_wrong():
    assert wrong({"o": math.nan}, 1.0) and wrong({"o": 2.0}, 1.0) and not wrong({"o": 0.5}, 1.0)


def test_times_are_refused_beside_parallel_workers(monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    for command in (["compare"], ["selftest", "--simulated", "1", "--real", "1"], ["yardstick"]):
        found = CliRunner().invoke(main, command)
        assert found.exit_code == 1 and "-n0" in found.output, found.output


def test_a_loaded_machine_measures_nothing(monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0, 0))
    with pytest.raises(NotMeasuredError, match="load average 99"):
        machine.require_quiet()
    found = CliRunner().invoke(main, ["yardstick"])
    assert found.exit_code == 2 and "not measured" in found.output


def watched(monkeypatch, busy, stolen, own):
    """A watch over one made second on one core."""
    now = {"cpu": (10.0, 0.0, 100.0), "clock": 0.0, "own": 0.0}
    monkeypatch.setattr(machine, "cpu_times", lambda: now["cpu"])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now["clock"])
    watch = machine.Watch(lambda: now["own"])
    now.update(cpu=(10 + busy, stolen, 101.0), clock=1.0, own=own)
    return watch.disturbance()


def test_other_processes_and_stolen_time_are_seen_and_our_own_work_is_not(monkeypatch):
    assert watched(monkeypatch, busy=1.0, stolen=0.0, own=0.98) == ""
    assert "0.50 cores" in watched(monkeypatch, busy=1.0, stolen=0.0, own=0.5)
    assert "hypervisor" in watched(monkeypatch, busy=0.9, stolen=0.1, own=0.9)
