"""A Ray cluster whose head is gone: an error in words, at once and not as Ray has it after a minute, in silence.

Ray here is a stand-in with the few calls that are made before any job; `test_ray` has the real one where there is one.
"""

import importlib.machinery
import json
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from asiarc.core.errors import ExecutionError
from asiarc.execution import Job, Result
from asiarc.execution.shelf import Shelf


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


def test_a_node_keeps_checkpoints_in_its_own_cache_until_the_job_is_over(cluster, tmp_path, monkeypatch):
    """The driver's folder is the driver's: it is not made here."""
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    node, kept = sys.modules["asiarc.execution.ray"]._Node((), [], "a:b"), tmp_path / "cache" / "checkpoints" / "key"
    job = Job("a:b", {}, shelf=Shelf(str(tmp_path / "driver" / "key"), 1000, 60.0))
    for status, is_kept in (("infrastructure", True), ("ok", False)):

        def run(jobs, status=status):
            Path(jobs[0].shelf.folder).mkdir(parents=True, exist_ok=True)
            assert jobs[0].shelf.folder == str(kept.resolve())
            return [Result(status)]

        monkeypatch.setattr(node._executor, "run", run)
        assert json.loads(node.run(job.as_text()))["status"] == status
        assert kept.exists() == is_kept
    assert not (tmp_path / "driver").exists()
