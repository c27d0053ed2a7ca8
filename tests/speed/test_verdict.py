"""A submitted kernel file is judged from outside: honest ones pass, wrong, slow and cheating ones are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from asiarc.errors import KernelError
from asiarc.harness.cli import main
from asiarc.speed import NotMeasuredError, verdict
from asiarc.speed.cases import measured_case
from asiarc.speed.contest import Compared
from asiarc.speed.paired import Ratio

HERE = Path(__file__).parent
FILE = """\
import torch
from asiarc import Kernel, Limits, Speed

SEEN = {}

def right(x):
    return torch.stack([x[:, : t + 1].sum(1) for t in range(x.shape[1])], 1)

def honest(x):
    return x.cumsum(1)

def leaky(x):
    return x.cumsum(1) + 1e-3 * x.mean(1, keepdim=True)

def slow(x):
    for _ in range(10):
        y = x.cumsum(1)
    return y

def borrowed(x):
    return right(x)

def remembers(x):
    key = tuple(x.flatten()[:3].tolist())
    if key not in SEEN:
        SEEN[key] = x.cumsum(1).detach()
    return SEEN[key] + 0 * x

def declared(function):
    return Kernel(
        function=function, reference=right, inputs={"x": "B T D"}, sizes={"B": 1, "T": 20, "D": 4},
        holds=("causal", "batch", "deterministic", "gradients"), at_most=Limits(error=1e-5, operators=30),
        speed=Speed(peer=right), examples=5, ranges={"D": (1, 8)},
    )

"""


def judged(tmp_path, *names):
    file = tmp_path / "kernel_sum.py"
    file.write_text(FILE + "".join(f"{name} = declared({name})\n" for name in names))
    return file


def test_an_honest_kernel_passes_and_is_timed(tmp_path, monkeypatch):
    def race(file, name, kernel):
        return Compared(measured_case(name, kernel), Ratio(0.5, 0.4, 0.6, 16, "ok"), base_ms=2.0, head_ms=1.0)

    monkeypatch.setattr(verdict, "race", race)
    found = CliRunner().invoke(main, ["kernel", "check", str(judged(tmp_path, "honest"))])
    assert found.exit_code == 0, found.output
    assert "kernel_sum.py::honest: nothing found" in found.output and "takes 0.500" in found.output
    assert max(map(len, found.output.splitlines())) <= 80


def test_what_is_wrong_slow_or_a_cheat_is_found_and_gets_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr(verdict, "race", None)
    file = judged(tmp_path, "leaky", "slow", "borrowed", "remembers")
    found = CliRunner().invoke(main, ["kernel", "check", str(file), "--json"])
    assert found.exit_code == 1, found.output
    kernels = {one["name"]: one for one in json.loads(found.output)["kernels"]}
    by_name = {name: set(one["findings"]) for name, one in kernels.items()}
    assert {"accuracy", "properties", "precision"} <= by_name["leaky"]
    assert by_name["slow"] == {"lean"}
    assert "imports" in by_name["borrowed"] and "lean" in by_name["borrowed"]
    assert "properties" in by_name["remembers"] and {"gradients", "same work"} & by_name["remembers"]
    assert not any(one["passed"] for one in kernels.values())
    assert "calls its own reference" in kernels["borrowed"]["findings"]["imports"][0]


def test_what_cannot_be_timed_is_no_pass(tmp_path, monkeypatch):
    def race(*_):
        raise NotMeasuredError("not measured: it is loud here")

    monkeypatch.setattr(verdict, "race", race)
    found = CliRunner().invoke(main, ["kernel", "check", str(judged(tmp_path, "honest"))])
    assert found.exit_code == 2 and "not measured: it is loud here" in found.output


@pytest.mark.parametrize(("name", "passes"), [("honest/on_the_shared_algebra", True), ("cheats/constant", False)])
def test_a_function_named_as_an_operator_of_ours_is_held_against_ours(name, passes):
    (found,) = verdict.judge_file(HERE / f"{name}.py")
    assert found.name == "gated_delta_rule" and (found.findings == {}) is passes, found


def test_a_file_without_a_kernel_is_told_what_one_is(tmp_path):
    file = tmp_path / "kernel_kad.py"
    file.write_text("def nothing(): pass\n")
    with pytest.raises(KernelError, match=r"declares no kernel .*Did you mean 'kda'"):
        verdict.judge_file(file)
    file.write_text("import nothing_of_the_kind\n")
    with pytest.raises(KernelError, match="cannot be loaded: ModuleNotFoundError"):
        verdict.judge_file(file)
