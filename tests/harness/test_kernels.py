"""Kernel files are test files: what is collected of them, what a wrong declaration is told, what each check finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asiarc.core.kernel import Input, Kernel, Limits, Speed
from asiarc.errors import KernelError
from asiarc.speed import machine, race
from asiarc.speed.cases import measured_case
from asiarc.speed.contest import Compared
from asiarc.speed.paired import Ratio

ROOT = Path(__file__).parents[2]
CUMULATED = """\
import torch
from asiarc import Input, Kernel, Limits, Speed

def right(x):
    return torch.stack([x[:, : t + 1].sum(1) for t in range(x.shape[1])], 1)

def fast(x):
    return {body}

summed = Kernel(
    function=fast,
    reference=right,
    inputs={{"x": "B T D"}},
    holds=("causal", "batch", "deterministic", "gradients"),
    at_most=Limits(error=1e-5, operators={operators}),
    speed=Speed(peer=right),
    sizes={{"B": 1, "T": 20, "D": 4}},
    ranges={{"T": (1, 12)}},
    examples=8,
)
"""
GOOD = CUMULATED.format(body="x.cumsum(1)", operators=40)
IDS = [f"kernels/kernel_sum.py::summed::{check}" for check in ("accuracy", "properties", "lean", "speed")]


@pytest.fixture
def project(pytester):
    pytester.makeini("[pytest]\nfilterwarnings = error\n")

    def write(text, name="kernels/kernel_sum.py"):
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return pytester

    return write


# --- collection -------------------------------------------------------------------------------------------------------


def test_a_kernel_is_its_checks(project):
    result = project(GOOD + "\ndef test_own(): pass\n").runpytest_inprocess("--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == [*IDS, "kernels/kernel_sum.py::test_own"]


def test_files_of_others_are_theirs(project):
    project("raise SystemExit\n")
    result = project("def test_own(): pass\n", "kernels/test_own.py").runpytest_inprocess()
    result.assert_outcomes(passed=1)


def test_collecting_imports_no_torch_and_a_wheel_without_campaigns_is_enough(tmp_path):
    """Names instead of functions: nothing of the kernel is imported before it is checked."""
    text = (ROOT / "tests/example_repository/kernels/kernel_decay.py").read_text()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/kernel_decay.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    heavy = "torch numpy scipy lm_eval transformers datasets sklearn nltk sympy pandas matplotlib psutil rich"
    code = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {heavy.split()}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "import pytest\n"
        "sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', '-p', 'no:benchmark']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kernels/kernel_decay.py::decay::speed" in done.stdout


def test_a_kernel_is_checked_where_campaigns_cannot_run(tmp_path):
    """Accuracy, properties and counts need what `asiarc` alone installs; the judge and the command, too."""
    absent = ["lm_eval", "transformers", "datasets", "accelerate", "tokenizers", "sklearn", "nltk", "pandas"]
    absent += ["scipy", "matplotlib", "bm25s", "openai", "psutil", "fla", "triton"]  # torch brings the other packages
    (tmp_path / "kernel_sum.py").write_text(GOOD)
    code = (
        "import sys\n"
        "class Without:\n"
        "    def __init__(self, finder): self.finder = finder\n"
        "    def __getattr__(self, name): return getattr(self.finder, name)\n"
        "    def find_spec(self, name, *where):\n"
        f"        return None if name.partition('.')[0] in {absent} else self.finder.find_spec(name, *where)\n"
        "sys.meta_path[:] = map(Without, sys.meta_path)\n"
        "import pytest\n"
        "status = pytest.main(['kernel_sum.py', '-q', '-p', 'no:cacheprovider', '-k', 'not speed'])\n"
        "import asiarc.harness.cli, asiarc.speed.verdict\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr


# --- wrong declarations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ('holds=("causal"', 'holds=("casual"', 14, "Did you mean 'causal'?"),
        ("operators=40", "operatorz=40", 15, "Did you mean 'operators'?"),
        ("reference=right", "referense=right", 12, "Did you mean 'reference'?"),
        ("reference=right", "reference=3", 12, "reference is a int; give a function"),
        ('"B T D"}', '"B T? D"}', 13, "inputs['x']: Input.axes: 'T?' is no axis"),
        ('"T": 20', '"TT": 20', 17, "Did you mean 'T'?"),
        ("error=1e-5", "error=-1", 15, "from 0 to below 1"),
        ("peer=right", "", 16, "give one of commit='main' and peer=function"),
    ],
)
def test_a_wrong_declaration_is_told_at_its_line(project, old, new, line, told):
    result = project(GOOD.replace(old, new)).runpytest_inprocess("--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    text = result.stdout.str()
    assert f"kernel_sum.py:{line}: " in text and told in text, text
    assert "Traceback" not in text


def declared(**changes):
    given = dict(function=len, reference=len, inputs={"x": "B T D"}, at_most=Limits(error=1e-5))
    return Kernel(**given | changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (dict(holds=("hand_over",)), "which output continues"),
        (dict(holds=("causal",), inputs={"x": "B D"}), "no input has the axis 'T'"),
        (dict(holds=("batch",), inputs={"x": "T D"}), "no input begins with the axis 'B'"),
        (dict(inputs={"x": Input(axes="T", values=(0, 1))}, states={"y": "o"}), "unknown input 'y'"),
        (dict(dtypes=("float32", "bfloat16"), at_most=Limits(error={"float32": 1e-5})), "no error for bfloat16"),
        (dict(function="decay"), "names no function"),
    ],
)
def test_what_cannot_hold_is_refused(changes, told):
    with pytest.raises(KernelError, match=told):
        declared(**changes)


def test_names_of_ranges_and_dtypes_are_known():
    for changes in (dict(values="unti"), dict(also=("opn",)), dict(dtype="int46"), dict(values=(1.0, 0.0))):
        with pytest.raises(KernelError):
            Input(axes="T", **changes)
    with pytest.raises(KernelError, match="one of commit"):
        Speed(commit="main", peer=len)


# --- checks -----------------------------------------------------------------------------------------------------------


def test_a_right_kernel_passes_and_a_wrong_one_fails_with_the_smallest_case(project):
    pytester = project(GOOD)
    leaky = CUMULATED.format(body="x.cumsum(1) + 0.01 * x.mean(1, keepdim=True)", operators=8)
    project(leaky, "kernels/kernel_leaky.py")
    result = pytester.runpytest_inprocess("-k", "not speed", "--asiarc-summary", "out/summary.md")
    result.assert_outcomes(passed=3, failed=3, deselected=2)
    result.stdout.fnmatch_lines(
        [
            "*kernel_leaky.py:10: summed::accuracy: summed is not as declared:*",
            "*reference does not hold: o is off by *at B=1 T=1 D=1 float32 seed *",
            "*causal does not hold: *before token 1, when only tokens from 1 on changed at B=1 T=2 D=1 float32 seed *",
            "*operators: *, at most 8 at B=1 T=20 D=4 float32 seed 0",
        ]
    )
    summary = (pytester.path / "out/summary.md").read_text()
    assert "3 passed, 3 failed, 0 error, 0 skipped" in summary
    assert "| `kernels/kernel_leaky.py::summed::lean` | **failed** |" in summary


def test_a_kernel_that_raises_is_told_with_its_case(project):
    text = CUMULATED.format(body="x.cumsum(1) if x.shape[1] < 7 else x.cumsum(9)", operators=40)
    result = project(text).runpytest_inprocess("-k", "accuracy or properties")
    result.assert_outcomes(failed=2, deselected=2)
    result.stdout.fnmatch_lines(["*raises IndexError: *at B=1 T=20 D=4*", "*raises IndexError: *at B=1 T=7 D=1 *"])


def timed(monkeypatch, ratio, **changes):
    kernel = declared()
    found = Compared(measured_case("summed", kernel), ratio, **changes)
    monkeypatch.setattr(race, "race", lambda *_: found)


@pytest.mark.parametrize(
    ("ratio", "red", "outcomes", "told"),
    [
        (Ratio(0.5, 0.4, 0.6, 16, "ok"), "", dict(passed=1), ""),
        (Ratio(2.0, 1.8, 2.2, 16, "slower"), "", dict(failed=1), "*takes 2.000 ?1.800, 2.200? times the other*"),
        (Ratio.nothing("undecided"), "", dict(errors=1), "*summed::speed: not measured: undecided"),
        (Ratio.nothing("red"), "here: errors above 1e-05", dict(failed=1), "*not timed: here: errors above 1e-05"),
    ],
)
def test_what_is_not_measured_is_an_error_and_never_a_pass(project, monkeypatch, ratio, red, outcomes, told):
    timed(monkeypatch, ratio, red=red)
    result = project(GOOD).runpytest_inprocess("-k", "speed")
    result.assert_outcomes(**outcomes, deselected=3)
    result.stdout.fnmatch_lines([told] if told else [])
    assert "Traceback" not in result.stdout.str()


def test_beside_workers_and_on_a_loaded_machine_nothing_is_timed(project, monkeypatch):
    pytester = project(GOOD)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(machine, "MOST_LOAD", -1.0)
    result = pytester.runpytest_inprocess("-k", "speed")
    result.assert_outcomes(errors=1, deselected=3)
    result.stdout.fnmatch_lines(["*summed::speed: not measured: load average *"])
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    result = pytester.runpytest_inprocess("-k", "speed", "-p", "no:xdist", "-p", "no:benchmark")
    result.assert_outcomes(errors=1, deselected=3)
    result.stdout.fnmatch_lines(["*beside parallel test workers mean nothing*"])


def test_history_is_kept_in_the_store_of_pytest_benchmark(project, monkeypatch):
    pytest.importorskip("pytest_benchmark")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    ratio = Ratio(0.5, 0.4, 0.6, 16, "ok")
    timed(monkeypatch, ratio, base_ms=2.0, head_ms=1.0, seconds=(0.001, 0.003), limit=2.0)
    pytester = project(GOOD)
    result = pytester.runpytest_inprocess("-k", "speed", "--benchmark-json=kept.json")
    result.assert_outcomes(passed=1, deselected=3)
    (bench,) = json.loads((pytester.path / "kept.json").read_text())["benchmarks"]
    assert bench["fullname"] == "kernels/kernel_sum.py::summed::speed"
    assert bench["stats"]["mean"] == pytest.approx(0.002)
    assert bench["extra_info"]["ratio"]["pairs"] == 16 and bench["extra_info"]["limit"] == 2.0
