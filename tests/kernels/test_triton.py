"""The GPU kernels on a machine without a GPU: their logic in Triton's interpreter, their binaries by its compiler.

Both want a process of their own: whether a kernel is interpreted or compiled is settled when Triton is imported.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from asiarc.campaign.code import kernels_of
from asiarc.core.candidate import load_mixer
from asiarc.core.errors import KernelInputError
from asiarc.kernels.contract import choose
from asiarc.kernels.operators import SEQUENCE
from asiarc.models.baselines import BASELINE_NAMES, baseline_source
from tests.rigs.kernels import compile_report
from tests.rigs.kernels.compile_report import Facts, Row, bless, faults, read_goldens

from .cases import OPERATORS, Case, run

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed (pip install triton==3.7.1)"
)


def python(*arguments, **environment):
    """A fresh interpreter; returns its exit status and everything it printed."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=kept | environment, cwd=HERE.parent.parent,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@needs_triton
@pytest.mark.parametrize("part", ["not drawn and not mutant", "drawn", "mutant"])
def test_kernels_in_the_interpreter(part):
    options = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", part)
    status, text = python("-m", "pytest", HERE / "in_interpreter.py", *options, TRITON_INTERPRET="1")
    assert status == 0, text[-4000:]
    assert " passed" in text


def test_operators_are_imported_without_triton():
    names = ", ".join(f"asiarc.kernels.{op.name}" for op in OPERATORS)
    status, text = python("-c", f"import sys, {names}; assert 'triton' not in sys.modules, 'triton was imported'")
    assert status == 0, text


def test_the_default_backend_is_chunks_on_a_cpu_and_kernels_on_a_gpu_where_they_serve(monkeypatch):
    monkeypatch.setattr("asiarc.kernels.contract.has_triton", lambda: True)
    every, portable = ("chunk", "reference", "triton"), ("chunk", "reference")

    class OnGpu:
        is_cuda = True

        def __init__(self, dtype, K):
            self.dtype, self.shape = dtype, (1, 2, 1, K)

    assert choose("kda", None, every, torch.zeros(1, 2, 1, 4)) == "chunk"
    assert choose("kda", None, every, OnGpu(torch.bfloat16, 128)) == "triton"
    assert choose("kda", None, every, OnGpu(torch.float64, 128)) == "chunk"
    assert choose("kda", None, every, OnGpu(torch.bfloat16, 512)) == "chunk"
    assert choose("fir", None, portable, OnGpu(torch.bfloat16, 128)) == "chunk"
    with pytest.raises(KernelInputError, match=r"Valid: chunk, reference, triton"):
        choose("kda", "tritn", every, torch.zeros(1, 2, 1, 4))
    with pytest.raises(KernelInputError, match=r"unknown backend 'triton'"):
        choose("fir", "triton", portable, torch.zeros(1, 2, 1, 4))


class OnGpu(torch.Tensor):
    """A CPU's tensor that says it is on a GPU, and so does all that is computed from it."""

    is_cuda = True


@pytest.fixture
def launched(monkeypatch):
    """The calls of the GPU kernels' host, which are answered with zeros: who is asked is what these tests look at."""
    calls = []

    def host(q, k, v, *_, **__):
        calls.append(q.dtype)
        return v.new_zeros(*q.shape[:2], *v.shape[2:]), v.new_zeros(len(q), v.shape[2], q.shape[-1], v.shape[-1])

    monkeypatch.setattr("asiarc.kernels.blocked.blocked", host)
    return calls


@needs_triton
@pytest.mark.parametrize("op", OPERATORS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_operator_reaches_its_kernels_on_a_gpu(op, dtype, launched):
    case = Case(op, seed=0, T=2, steps=2 if op.steps > 1 else 1)
    tensors = case.tensors(dtype)
    run(case, tensors)
    assert launched == [], "on a CPU the plain path is taken"
    run(case, {name: x.as_subclass(OnGpu) for name, x in tensors.items()})
    assert launched == [dtype]


@needs_triton
@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # a norm in a mixer, float32 beside what autocast gives it
@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_every_mixer_reaches_the_kernels_of_what_it_imports(name, launched):
    """As it trains there, under autocast; the check beside it is the plain path, which `in_interpreter` compares."""
    source = baseline_source(name)
    mixer = load_mixer(source)(d_model=64, num_heads=2)
    with torch.autocast("cpu", torch.bfloat16):
        mixer(torch.randn(2, 8, 64).as_subclass(OnGpu))
    assert bool(launched) == bool(kernels_of(source, "triton").keys() & set(SEQUENCE))


@needs_triton
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter does take a CPU's tensors")
def test_a_cpu_tensor_is_refused_in_words():
    case = Case(OPERATORS[5], seed=0, T=2)
    with pytest.raises(KernelInputError, match=r"on cpu; allowed: .*TRITON_INTERPRET=1.*backend='chunk'"):
        run(case, case.tensors(torch.float32), backend="triton")


FACTS = Facts(registers=128, spilled=0, shared=100_000, tensor_core=48, local=0, copies=12)
ROW = Row(90, "kda", "bf16", 64, "forward", "v32w4s2", True, FACTS, 1.0)


def changed(**facts):
    return dataclasses.replace(ROW, facts=dataclasses.replace(FACTS, **facts))


def test_a_row_equal_to_its_golden_has_no_fault():
    golden = dataclasses.asdict(FACTS)
    assert faults(ROW, golden) == []
    assert faults(changed(registers=136, copies=3), golden) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (dict(registers=137), "registers 137, golden 128"),
        (dict(spilled=8), "spilled 8, golden 0"),
        (dict(shared=100_001), "shared 100001, golden 100000"),
        (dict(local=1), "local 1, golden 0"),
        (dict(tensor_core=0), "tensor-core instructions 0, golden 48"),
        (dict(tensor_core=49), "tensor-core instructions 49, golden 48"),
    ],
)
def test_what_is_worse_than_its_golden_is_a_fault(facts, said):
    assert said in faults(changed(**facts), dataclasses.asdict(FACTS))


def test_a_missing_golden_is_a_fault():
    assert any("no golden" in wrong for wrong in faults(ROW, None))


def test_a_chosen_configuration_that_spills_or_does_not_fit_is_a_fault_even_where_the_golden_does():
    too_large = changed(spilled=16, shared=240_000)
    golden = dataclasses.asdict(too_large.facts)
    assert len(faults(too_large, golden)) == 2
    assert faults(dataclasses.replace(too_large, chosen=False), golden) == []
    elsewhere = faults(dataclasses.replace(too_large, capability=80), golden)
    assert len(elsewhere) == 1 and "shared memory" in elsewhere[0]


def test_blessing_keeps_what_was_not_compiled_unless_another_triton_made_it(tmp_path):
    other = dataclasses.replace(ROW, kernel="scores")
    bless(tmp_path, [ROW], "3.7.1")
    bless(tmp_path, [other], "3.7.1")
    assert set(read_goldens(tmp_path, 90)["rows"]) == {ROW.name, other.name}
    bless(tmp_path, [other], "3.8.0")
    assert read_goldens(tmp_path, 90) == {"triton": "3.8.0", "rows": {other.name: dataclasses.asdict(FACTS)}}


@needs_triton
def test_a_kernel_compiles_for_a_device_that_is_not_here_and_equals_its_golden(tmp_path):
    one = ("--operator", "gated_delta_rule", "--width", "64", "--kernel", "forward", "--device", "90")
    command = ("-m", "tests.rigs.kernels", "binaries", *one, "--out", tmp_path / "record.json")
    status, text = python(*command)
    assert status == 0, text
    rows = json.loads((tmp_path / "record.json").read_text())["rows"]
    assert rows and all(row["facts"]["tensor_core"] > 0 for row in rows.values())
    status, text = python(*command, "--goldens", tmp_path)
    assert status == 1 and "WRONG: no golden" in text


def test_goldens_cover_every_device():
    for capability in compile_report.SHARED_KIB:
        assert read_goldens(compile_report.GOLDENS, capability)["rows"], f"no goldens of sm_{capability}"
