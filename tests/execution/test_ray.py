"""`RayExecutor` on a real cluster of two local nodes, in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rigs import search_path

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra: asiarc[ray]")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    quiet = {
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "ASIARC_CACHE": str(folder / "here"),
        "PYTHONPATH": f"{HERE}{os.pathsep}{search_path()}",
    }
    done = subprocess.run(
        [sys.executable, HERE / "on_ray.py", HERE, folder],
        capture_output=True, text=True, timeout=900, env=os.environ | quiet | {"HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "shown.json").read_text())


def test_results_are_those_of_the_local_executor(shown):
    assert shown["workers"] == 2
    assert shown["ray"] == shown["local"]
    assert [status for status, _, _ in shown["ray"]] == ["ok"] * 4 + ["crashed", "timed_out", "crashed"]
    assert shown["delivered"] == list(range(7))


def test_the_sandbox_stands_on_the_nodes(shown):
    assert {"session", "environment", "rlimits"} <= set(shown["layers"])


def test_a_node_lost_in_the_middle_of_a_job_loses_no_job(shown):
    assert shown["after a loss"] == ["ok"] * 5
    assert len(shown["lost"]) == 1 and "the node was lost" in shown["lost"][0]


def test_each_job_has_a_gpu_of_its_own(shown):
    """The node says that it has two; a job sees the one that is its own."""
    assert sorted(value["device"] for value in shown["devices"]) == ["0", "1"]


def test_a_large_trial_has_as_many_gpus_as_it_asks_for(shown):
    """By torchrun, on one node, with the curve of the same two processes here."""
    status, reason, value = shown["large"]
    assert status == "ok", reason
    assert sorted(value["gpus"].split(",")) == ["0", "1"]
    assert value["rows"] == shown["large here"]["rows"] and value["rows"][0]["processes"] == 2
    assert "no node of the Ray cluster has 3 GPUs, the largest has 2" in shown["too large"]


def test_a_text_of_ones_own_goes_to_the_node_that_lacks_it(shown):
    """The node keeps its texts in another folder than the driver; a candidate's process sees no held-out split."""
    assert len(shown["read"]) == 2
    for status, reason, value in (*shown["read"], *shown["read where it was damaged"]):
        assert status == "ok", reason
        assert value["hash"] == shown["sent"] and bytes.fromhex(value["start"])[:4].strip()


def test_tokens_go_to_the_node_that_lacks_them(shown):
    assert shown["tokens read"] == [["ok", "", {"rows": shown["tokens sent"]}]]


def test_a_cluster_without_room_is_said_at_once(shown):
    assert "no GPU for a job" in shown["no room"]


def test_other_versions_are_refused(shown):
    [(status, reason)] = shown["refused"]
    assert status == "infrastructure"
    assert "instead of 2.7" in reason and "code of" in reason
    assert "install the driver's versions" in reason
