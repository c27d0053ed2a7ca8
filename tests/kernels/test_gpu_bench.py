"""The GPU script as it will be called: without our package and most others, in one call that keeps what it has.

Triton's interpreter stands in for the device. The bare machine is a Python whose start-up hook takes away the installed
asiarc and refuses what such a machine lacks.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed (pip install triton==3.7.1)"
)
ROOT = Path(__file__).parents[2]
ABSENT = ("fla", "pydantic", "lm_eval", "transformers", "openai", "hypothesis", "einops", "matplotlib")
HOOK = f"""
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in {ABSENT!r}
        return None if absent else super().find_spec(name, path, target)
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Bare]  # without the finder of editable installs
"""


@pytest.fixture
def bare(tmp_path):
    """Runs a command on the bare machine; returns exit status and output."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    kept = {n: v for n, v in os.environ.items() if n not in ("TRITON_INTERPRET", "PYTHONPATH")}
    environment = kept | {"PYTHONPATH": str(tmp_path / "hook")}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], env=environment, cwd=tmp_path, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize("module", ["asiarc", "pydantic", "fla.ops"])
def test_the_bare_machine_is_bare(bare, module):
    status, text = bare("-c", f"import {module}")
    assert status == 1 and "No module named" in text


def test_one_call_checks_then_times_and_keeps_a_record_named_after_the_device(bare, tmp_path):
    script = ROOT / "tests/rigs/kernels/gpu_bench.py"
    status, text = bare(
        script, "--interpret", "--small", "--operator", "simple_gla", "--workers", 2, "--out", tmp_path / "records"
    )
    assert status == 0, text
    record = json.loads((tmp_path / "records" / "triton_interpreter.json").read_text())
    assert record["device"] == "interpreter" and record["left_out"] == [] and record["wall_s"] > 0
    assert len(record["checks"]) == 2 and all(row["right"] and row["repeats"] for row in record["checks"])
    assert record["tuning"] and {row["shape"] for row in record["rows"]} == {"B1 T24 H1 D16", "B1 T16 H2 D16"}
    for row in record["rows"]:
        assert row["right"] and row["forward_ms"] > 0 and row["floor_share_both"] > 0
    assert "checks: 2 of 2" in text and text.index("checks:") < text.index("of the floor")


def test_what_the_time_does_not_allow_is_named(bare, tmp_path):
    status, text = bare(
        ROOT / "tests/rigs/kernels/gpu_bench.py", "--interpret", "--small", "--skip-checks", "--minutes", 0,
        "--out", tmp_path / "late.json",
    )  # fmt: skip
    assert status == 0, text
    record = json.loads((tmp_path / "late.json").read_text())
    assert record["rows"] == record["tuning"] == [] and len(record["left_out"]) == 4 * (1 + 2)
    assert "left out for want of time: times kda" in text


# In this process: nothing of these needs a device.
gpu_bench = pytest.importorskip("tests.rigs.kernels.gpu_bench")


def test_every_row_is_on_disk_before_the_next_begins(tmp_path, monkeypatch):
    import torch

    seen = []

    def row(operator, shape, *_):
        path = tmp_path / "triton_interpreter.json"
        seen.append(len(json.loads(path.read_text())["rows"]))
        return [{"operator": operator}]

    monkeypatch.setattr(gpu_bench, "time_row", row)
    monkeypatch.setattr(gpu_bench, "tune", lambda *_: {"configs": {}})
    record = {"device": "interpreter", "tuning": [], "rows": [], "left_out": [], "ceilings": {}}
    keep = gpu_bench.keeper(record, tmp_path, 0.0)
    keep()
    device = torch.device("cpu")
    shapes = [gpu_bench.Shape(1, 8, 1, 16)] * 2
    gpu_bench.measure(record, keep, ["kda"], shapes, "float32", gpu_bench.Clock(device), device, 1, float("inf"))
    assert seen == [0, 1]


def test_checks_that_do_not_end_share_one_limit():
    slow = [sys.executable, "-c", "import time; time.sleep(60)"]
    answers = gpu_bench.in_processes([slow] * 3, workers=1, limit_s=1.0)
    assert [status for status, _ in answers] == [-1, -1, -1]
    assert "not finished in the 1 s" in answers[0][1]


def test_a_peer_comes_from_a_wheel_or_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    wheel = tmp_path / "planted_peer-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("planted_peer/__init__.py", "def kernel():\n    return 7\n")
    gpu_bench.add_peer(wheel)
    import inspect

    import planted_peer

    assert planted_peer.kernel() == 7 and "return 7" in inspect.getsource(planted_peer.kernel)
    folder = tmp_path / "folder"
    (folder / "other_peer").mkdir(parents=True)
    (folder / "other_peer" / "__init__.py").write_text("")
    gpu_bench.add_peer(folder)
    assert importlib.util.find_spec("other_peer") is not None


def test_without_a_device_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = CliRunner().invoke(gpu_bench.main, [])
    assert done.exit_code == 1 and "--interpret --small" in done.output
