"""Every attack ends as it must and leaves nothing behind, and the judgement of attacks is not blind."""

import os

import psutil
import pytest

from asiarc.execution import InlineExecutor, Job, LocalExecutor
from asiarc.execution.attacks import ATTACKS, NOT_CONTAINED, targets

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
def held(lone, aim):
    return lone.run([Job("asiarc.execution.attacks:echo", {})])[0].layers


@pytest.fixture(scope="module")
def lone():
    with LocalExecutor(workers=1, preload=("math", "json")) as executor:
        yield executor


def family():
    """This process's descendants by their start: (pid, created) names one for good."""
    return {(p.pid, p.create_time()) for p in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize("name", [n for n, a in ATTACKS.items() if a.held_by != NOT_CONTAINED])
def test_attack(name, lone, aim, held, request):
    attack = ATTACKS[name]
    if not attack.contained(held):
        pytest.skip(f"not contained here: needs {' or '.join(attack.held_by)}")
    executor = request.getfixturevalue("torch_executor") if name in NEED_TORCH else lone
    executor.run([Job("asiarc.execution.attacks:echo", {})])
    before = family()
    result = executor.run([attack.job(aim)])[0]
    assert attack.breached(result) == ""
    assert aim.harm() == ""
    assert family() == before, "something was left behind, or the worker was lost"
    assert executor.run([Job("asiarc.execution.attacks:echo", {"still": "here"})])[0].value == {
        "still": "here"
    }


@pytest.mark.parametrize("name", [n for n, a in ATTACKS.items() if a.held_by == NOT_CONTAINED])
def test_what_one_process_cannot_contain(name, lone, aim):
    """Honest about the limit: these get through, as `inside.py` says. If one no longer does, say so there."""
    result = lone.run([ATTACKS[name].job(aim)])[0]
    assert ATTACKS[name].breached(result)
    assert not ATTACKS[name].contained(result.layers)


@pytest.mark.parametrize("name", HARMLESS_IN_THE_OPEN)
def test_an_attack_that_gets_through_is_seen(name, aim):
    """Without a wall the same attacks succeed, and are judged breaches: the tests above can fail."""
    result = InlineExecutor().run([ATTACKS[name].job(aim)])[0]
    assert result.status == "ok", result.reason
    assert "breached" in result.value
    assert ATTACKS[name].breached(result)


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
