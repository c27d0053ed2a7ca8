"""Every attack ends as it must and leaves nothing behind, and the judgement of attacks is not blind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from asiarc.execution import InlineExecutor, Job, LocalExecutor
from tests.rigs import search_path
from tests.rigs.sandbox import attacks
from tests.rigs.sandbox.attacks import ATTACKS, MODULE, NOT_CONTAINED, targets

HERE = Path(__file__).parent
ECHO = Job(attacks.ECHO, {"still": "here"})
FEW = ("session", "environment", "rlimits")
NEED_TORCH = {"makes_a_huge_tensor", "patches_the_loss", "patches_saving"}
HARMLESS_IN_THE_OPEN = (
    "reads_a_secret",
    "reads_the_archive",
    "reads_keys",
    "reads_the_harness_environment",
    "connects_by_tcp",
    "connects_to_a_unix_socket",
    "connects_to_an_abstract_socket",
    "signals_the_harness",
    "looks_at_other_processes",
    "starts_a_shell",
    "patches_and_restores",
)


@pytest.fixture(scope="module")
def aim():
    with targets() as aim:
        yield aim


@pytest.fixture(scope="module")
def lone(jobs_on_the_path):
    with LocalExecutor(workers=1, preload=(MODULE,)) as executor:
        yield executor


@pytest.fixture(scope="module")
def bare(jobs_on_the_path):
    """A worker on a machine without namespaces, Landlock, seccomp, capabilities and control groups."""
    with LocalExecutor(workers=1, preload=(MODULE,)) as executor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{HERE / 'bare'}{os.pathsep}{search_path()}")
            executor.run([ECHO])
        yield executor


def family():
    """This process's descendants by their start: (pid, created) names one for good."""
    return {(p.pid, p.create_time()) for p in psutil.Process().children(recursive=True)}


def ends_as_it_must(attack, executor, aim):
    held = executor.run([ECHO])[0].layers
    if not attack.contained(held):
        pytest.skip(f"not contained here: needs {' or '.join(attack.held_by)}")
    before = family()
    result = executor.run([attack.job(aim)])[0]
    assert attack.breached(result) == ""
    assert aim.harm() == ""
    assert family() == before, "something was left behind, or the worker was lost"
    assert executor.run([ECHO])[0].value == ECHO.payload


@pytest.mark.parametrize("name", [n for n, a in ATTACKS.items() if a.held_by != NOT_CONTAINED])
def test_attack(name, lone, aim, request):
    executor = request.getfixturevalue("torch_executor") if name in NEED_TORCH else lone
    ends_as_it_must(ATTACKS[name], executor, aim)


@pytest.mark.parametrize("name", [n for n, a in ATTACKS.items() if a.contained(FEW) and n not in NEED_TORCH])
def test_attack_where_the_machine_offers_little(name, bare, aim):
    """What is said to hold without the kernel's newer layers does hold."""
    ends_as_it_must(ATTACKS[name], bare, aim)


def test_little_is_little(bare, lone):
    few, many = (executor.run([ECHO])[0].layers for executor in (bare, lone))
    assert few == FEW
    assert set(few) < set(many)


@pytest.mark.parametrize("name", [n for n, a in ATTACKS.items() if a.held_by == NOT_CONTAINED])
def test_what_one_process_cannot_contain(name, lone, aim):
    """Honest about the limit: these get through, as `inside.py` says. If one no longer does, say so there."""
    result = lone.run([ATTACKS[name].job(aim)])[0]
    assert ATTACKS[name].breached(result)
    assert not ATTACKS[name].contained(result.layers)


@pytest.mark.parametrize("name", HARMLESS_IN_THE_OPEN)
def test_an_attack_that_gets_through_is_seen(name, aim):
    """Without a sandbox the same attacks succeed, and are judged breaches: the tests above can fail."""
    result = InlineExecutor().run([ATTACKS[name].job(aim)])[0]
    assert result.status == "ok", result.reason
    assert "breached" in result.value
    assert ATTACKS[name].breached(result)


@pytest.mark.skipif(os.getuid() != 0, reason="the other tests run as an ordinary user already")
def test_the_sandbox_holds_for_an_ordinary_user():
    command = [sys.executable, HERE / "as_ordinary_user.py", "-m", "tests.rigs", "sandbox"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ATTACKS)} attacks, 0 wrong; the worker still serves" in done.stdout


def test_there_are_enough_of_them():
    assert len(ATTACKS) >= 40
    assert all(attack.does for attack in ATTACKS.values())


def test_targets_restore_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "before")
    with targets() as aim:
        assert os.environ["OPENAI_API_KEY"] == "sk-planted"
        assert aim.harm() == ""
        (aim.folder / "new").touch()
        assert "new" in aim.harm()
    assert os.environ["OPENAI_API_KEY"] == "before"
