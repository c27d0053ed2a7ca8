"""A kernel author's repository as its CI runs it: green, red on a wrong and a slow kernel, never green unmeasured."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).parent / "example_repository"
# A test machine is shared: what is tested is what is made of times, not how quiet it is.
QUIET = "from asiarc.speed import machine\n\nmachine.MOST_LOAD = machine.MOST_STOLEN = machine.MOST_OTHER = {most}\n"
HONEST = "def decay(x, gate, initial_state=None):\n"
SLOW = f"{HONEST}    for _ in range(6):\n        by_token(x, gate, initial_state)\n"


@pytest.fixture
def repository(tmp_path):
    """A copy, on a machine that counts as quiet."""
    copy = shutil.copytree(EXAMPLE, tmp_path / "repository", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "conftest.py").write_text(QUIET.format(most=1e9))
    return copy


def planted(repository, old, new):
    file = repository / "decay.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def commands():
    """What either CI runs, by CI."""
    github = yaml.safe_load((EXAMPLE / ".github/workflows/kernels.yml").read_text())
    gitlab = yaml.safe_load((EXAMPLE / ".gitlab-ci.yml").read_text())
    steps = [step["run"] for step in github["jobs"]["kernels"]["steps"] if "run" in step]
    return {"github": steps, "gitlab": [*gitlab["kernels"]["script"], *gitlab["kernels"]["after_script"]]}


def ci(repository, *more):
    """The command of the CI, here: exit status, output, JUnit's counts, the summary."""
    (command,) = {one for steps in commands().values() for one in steps if one.startswith("pytest")}
    arguments = [*command.split(), "-p", "no:cacheprovider", *more]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    env.pop("PYTEST_XDIST_WORKER", None)  # the test itself may run beside others
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=repository, capture_output=True, text=True, check=False, env=env
    )
    suite = ElementTree.parse(repository / "report/junit.xml").getroot()[0]
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors")}
    return done.returncode, done.stdout + done.stderr, counts, (repository / "report/kernels.md").read_text()


def test_green(repository):
    status, output, counts, summary = ci(repository)
    assert (status, counts) == (0, dict(tests=4, failures=0, errors=0)), output
    assert re.search(r"\| `kernels/kernel_decay.py::decay::speed` \| passed \| ratio 0\.\d+ \|", summary), summary


def test_a_wrong_kernel_is_red_and_gets_no_time(repository):
    planted(repository, "return y, y[:, -1]", "return y, y[:, 0]")
    status, output, counts, summary = ci(repository)
    assert (status, counts) == (1, dict(tests=4, failures=3, errors=0)), output
    assert "reference does not hold: final_state is off by" in output and "at B=1 T=2 D=1 float32" in output
    assert "decay::speed: decay is not as declared:\n  not timed: here: errors above 1e-05" in output
    assert summary.count("**failed**") == 3


def test_a_slow_kernel_is_red(repository):
    planted(repository, HONEST, SLOW)
    status, output, counts, _ = ci(repository, "-k", "lean or speed")
    assert (status, counts) == (1, dict(tests=2, failures=2, errors=0)), output
    assert re.search(r"operators: [\d,]+, at most 180", output)
    assert re.search(r"takes \d+\.\d+ \[.*\] times the other side's time, at most 1.5", output)


def test_a_noisy_machine_is_an_error_and_not_a_pass(repository):
    (repository / "conftest.py").write_text(QUIET.format(most=-1.0))
    status, output, counts, summary = ci(repository, "-k", "speed")
    assert (status, counts) == (1, dict(tests=1, failures=0, errors=1)), output
    assert "decay::speed: not measured: load average" in output
    assert "**error**" in summary and "not measured" in summary


def test_both_ci_run_the_same_and_keep_junit_summary_and_report():
    runs = commands()
    for steps in runs.values():
        assert any("asiarc[kernels]" in step for step in steps)
        assert any("cat report/kernels.md" in step for step in steps)
    text = {name: (EXAMPLE / name).read_text() for name in (".github/workflows/kernels.yml", ".gitlab-ci.yml")}
    assert "GITHUB_STEP_SUMMARY" in text[".github/workflows/kernels.yml"]
    assert "junit: report/junit.xml" in text[".gitlab-ci.yml"]
    assert yaml.safe_load(text[".gitlab-ci.yml"])["kernels"]["artifacts"]["paths"] == ["report"]
    uploads = [step for step in yaml.safe_load(text[".github/workflows/kernels.yml"])["jobs"]["kernels"]["steps"]
               if "upload-artifact" in step.get("uses", "")]  # fmt: skip
    assert [step["with"]["path"] for step in uploads] == ["report"]


def test_its_campaign_is_collected_with_the_kernels(repository):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "kernels", "campaigns"],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "campaigns/campaign_decay.py::overwriting::explore" in done.stdout, done.stdout
    assert "kernels/kernel_decay.py::decay::properties" in done.stdout
