"""A Ray cluster whose head is gone: an error in words, at once and not as Ray has it after a minute, in silence.

Ray here is a stand-in with the few calls that are made before any job; `test_ray` has the real one where there is one.
"""

import importlib.machinery
import socket
import sys
from types import ModuleType, SimpleNamespace

import pytest

from asiarc.core.errors import ExecutionError
from asiarc.execution import Job


@pytest.fixture
def head():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def cluster(monkeypatch, head):
    """The executor's module over a stand-in of Ray; `asked` are the calls that need the head."""
    asked = []
    ray = ModuleType("ray")
    ray.__spec__ = importlib.machinery.ModuleSpec("ray", None)
    ray.is_initialized = lambda: True
    ray.cluster_resources = lambda: asked.append("resources") or {"CPU": 1}
    ray.kill = lambda actor: asked.append("kill")
    ray.get_runtime_context = lambda: SimpleNamespace(gcs_address=f"127.0.0.1:{head.getsockname()[1]}")
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delitem(sys.modules, "asiarc.execution.ray", raising=False)
    import asiarc.execution.ray as on_ray

    monkeypatch.setattr(on_ray, "_HEAD_S", -1.0)
    yield SimpleNamespace(executor=on_ray.RayExecutor(versions="a:b", preload=()), asked=asked)
    sys.modules.pop("asiarc.execution.ray", None)


def test_a_head_that_answers_is_asked(cluster):
    assert cluster.executor.most_workers == 1
    assert cluster.asked == ["resources"]


def test_a_lost_head_is_said_and_never_asked_again(cluster, head):
    head.close()
    cluster.executor._idle.append("an actor")
    for _ in range(2):
        with pytest.raises(ExecutionError, match=r"head at 127\.0\.0\.1:\d+ was lost.*run the same command"):
            cluster.executor.run([Job("asiarc.execution.job:echo", {})])
    cluster.executor.close()
    assert cluster.asked == [], "Ray would wait for the head, and end this process"
