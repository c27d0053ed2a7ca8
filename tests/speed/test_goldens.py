"""Layers against goldens: committed ones hold here, and every way to lack or break one is red."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import torch
from click.testing import CliRunner

from asiarc.kernels.kernel_operators import KERNELS
from asiarc.kernels.operators import OPERATORS
from asiarc.speed import NotMeasuredError
from asiarc.speed.cases import Case, error_of, exact, outcome, shipped
from tests.rigs.kernels import error as accuracy
from tests.rigs.kernels import goldens, instructions, structure
from tests.rigs.kernels.__main__ import check, checked, main


def holds(layer, operators=()):
    try:
        found = check(layer, operators)
    except NotMeasuredError as error:
        pytest.skip(str(error))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_structure_is_as_committed(operator):
    holds("structure", (operator,))


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_errors_are_no_larger_than_committed(operator):
    holds("accuracy", (operator,))


def test_every_operator_dtype_and_gate_family_has_an_accuracy_case():
    cases = {(c.name, c.dtype, c.family) for c in accuracy.CASES}
    for operator in OPERATORS:
        for dtype in accuracy.DTYPES:
            for family in KERNELS[operator].families:
                assert (operator, dtype, family) in cases


def test_structure_counts_what_an_independent_record_counts(monkeypatch):
    """A function of known cost: one product, one kept tensor."""
    x = torch.randn(32, 32, requires_grad=True)

    def call(**inputs):
        return (inputs["x"] @ inputs["x"]).exp()

    found = structure.profiled(lambda: call(x=x))
    assert found["product_flops"] == 2 * 32**3
    assert found["allocated_bytes"] == 2 * 32 * 32 * 4 == found["peak_bytes"]
    assert structure.saved_bytes(lambda: call(x=x), {"x": x}) == 32 * 32 * 4  # exp keeps its result, matmul its inputs

    def deep(n):
        return n and deep(n - 1)

    assert structure.python_calls(lambda: deep(9)) == 11


def test_structure_is_exact_and_sees_one_more_copy(monkeypatch):
    case = structure.CASES[0]
    first = structure.structure_of(case)
    assert first == structure.structure_of(case)
    honest = case.call
    copying = property(lambda self: lambda **x: tuple(o.clone() for o in honest(**x)))
    monkeypatch.setattr(Case, "call", copying)
    wasteful = structure.structure_of(case)
    assert wasteful["operators"] > first["operators"] and wasteful["allocated_bytes"] > first["allocated_bytes"]


def test_a_coarser_operator_breaks_its_accuracy_golden(monkeypatch):
    case = shipped("gated_delta_rule", 2, 70, 2, 16)
    golden = accuracy.errors_of(case)
    honest = case.call
    coarser = property(lambda self: lambda **x: honest(**{n: t.bfloat16().float() for n, t in x.items()}))
    monkeypatch.setattr(Case, "call", coarser)
    rule = accuracy.rule_for(str(case))
    coarse = accuracy.errors_of(case)
    assert all("error" in rule(golden[name], coarse[name]) for name in golden)
    assert all(not rule(golden[name], golden[name] * 1.2) for name in golden)


def test_missing_vanished_and_changed_values_are_problems():
    golden = {"a": {"x": 1.0, "y": 2.0}}

    def problems(measured):
        return goldens.problems("structure", measured, golden, structure.rule)

    assert problems({"a": {"x": 1.0, "y": 2.0}}) == []
    assert "x 1 -> 3 (+200.0%)" in problems({"a": {"x": 3.0, "y": 2.0}})[0]
    assert "no structure baseline" in problems({"b": {"x": 1.0}})[0]
    assert "the baseline holds" in problems({"a": {"x": 1.0}})[0]


def test_goldens_survive_the_disk_and_hold_in_their_environment_only(tmp_path):
    here = goldens.environment()
    values = {"b": {"x": 1.5}, "a": {"x": 2.0}}
    path = goldens.write("structure", here, values, tmp_path)
    assert goldens.read("structure", here, tmp_path) == values
    assert list(json.loads(path.read_text())["values"]) == ["a", "b"]
    with pytest.raises(NotMeasuredError, match=r"torch 2.* -> 9"):
        goldens.read("structure", here | {"torch": "9"}, tmp_path)
    assert goldens.read("accuracy", here, tmp_path) == {}


def test_a_missing_baseline_is_red(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checked("structure", ("l2_norm",))
    found = CliRunner().invoke(main, ["structure", "--operator", "l2_norm"])
    assert found.exit_code == 1 and "no structure baseline" in found.output and "bless structure" in found.output
    assert CliRunner().invoke(main, ["bless", "structure", "--operator", "l2_norm"]).exit_code == 0
    assert CliRunner().invoke(main, ["structure", "--operator", "l2_norm"]).exit_code == 0


def test_without_valgrind_instructions_are_not_measured(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NotMeasuredError, match="not measured here"):
        instructions.measure()
    assert not checked("instructions", ())


def test_instruction_bands_and_lost_counts():
    assert not instructions.rule(1000, 1009) and not instructions.rule(1000, 991)
    assert instructions.rule(1000, 1011) and instructions.rule(1000, 989)
    text = "desc: Trigger: Client Request: one case\nsummary: 0\n\ntotals: 1234\n"
    assert instructions.counted([text, "desc: Trigger: Program termination\n"], ["one case"]) == {
        "one case": {"instructions": 1234.0}
    }
    with pytest.raises(instructions.SpeedError, match="another"):
        instructions.counted([text], ["one case", "another"])


def test_of_one_operator_the_whole_is_counted(monkeypatch):
    """Its two warm calls leave the allocator otherwise than all operators do: alone it counted 5 % more."""
    counts = {"l2_norm 1x2": {"instructions": 1.0}, "kda 1x2": {"instructions": 2.0}}
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(list(counts)))

    monkeypatch.setattr(instructions, "here", dict)
    monkeypatch.setattr(instructions, "counted", lambda dumps, expected: counts)
    monkeypatch.setattr(instructions.subprocess, "run", run)
    assert instructions.measure(("kda",)) == {"kda 1x2": {"instructions": 2.0}}
    assert instructions.measure() == counts and "kda" not in commands[0]


def test_outside_valgrind_a_client_request_does_nothing():
    try:
        instructions.here()
    except NotMeasuredError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [
            instructions.sys.executable,
            "-c",
            "from tests.rigs.kernels.instructions import *; print(Requests()(RUNNING))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize("operator", OPERATORS)
def test_cases_are_within_the_contract_and_right(operator):
    case = shipped(operator, 1, 20, 2, 8, family="reset")
    inputs = case.inputs()
    found = outcome(case.call, inputs, case.upstream())
    assert max(error_of(found, exact(case, inputs)).values()) < 1e-4
    assert all(f"d{name}" in found for name in inputs)
    assert torch.equal(next(iter(inputs.values())), next(iter(case.inputs().values())))
