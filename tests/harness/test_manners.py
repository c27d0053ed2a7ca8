"""An installed asiarc among other people's plugins, options, marks and files: it does nothing that nobody asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asiarc.harness.session import Lab

from .declarations import REGISTER
from .fakes import FakeExecutor, Refusing

QUESTION = """\
from asiarc import Budget, Campaign, Stage, by_tier

question = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(tasks=("text",)),
    budget=by_tier(smoke=Budget(candidates=2, minutes=5)),
)

def test_seen(outcome):
    assert outcome.evaluated
"""
TOML = """\
start_from = "delta_net"
baselines = ["delta_net"]
explore = { tasks = ["text"] }
budget = { smoke = { candidates = 2, minutes = 5 } }
"""
LOADED = """\
import sys

def test_own(pytestconfig):
    assert not [name for name in sys.modules if name.partition(".")[0] == "asiarc"]
    assert pytestconfig.getini("testpaths") == []
"""
IDS = ["campaigns/campaign_a.py::question::explore", "campaigns/campaign_a.py::test_seen"]


@pytest.fixture
def project(pytester, monkeypatch):
    """A folder with files: ``project({"campaigns/campaign_a.py": text})``; trials are the laboratory's."""
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    monkeypatch.setattr(Lab, "executor", property(lambda lab: FakeExecutor()))

    def write(files):
        for name, text in files.items():
            path = pytester.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return pytester

    return write


def collected(pytester, *arguments):
    result = pytester.runpytest_inprocess("--collect-only", "-q", *arguments)
    return [line for line in result.outlines if "::" in line]


# --- other people's projects ------------------------------------------------------------------------------------------

OTHERS = {
    "app/campaign_mailer.py": "import something_optional\n",
    "app/campaign_spring.toml": 'title = "Spring sale"\n',
    "app/claim_insurance.py": "raise SystemExit\n",
    "campaigns/campaign_letters.py": "import something_optional\n",
    "campaigns/campaign_autumn.toml": "title = 1\n",
    "tests/test_shop.py": "import pytest\n\n@pytest.mark.tier(1)\ndef test_one(winner): assert winner == 1\n",
    "conftest.py": "import pytest\n\n@pytest.fixture\ndef winner(): return 1\n",
}


@pytest.mark.parametrize("arguments", [(), ("app",), ("campaigns",), ("tests",), (".",)])
def test_files_marks_and_fixtures_of_others_are_theirs(project, arguments):
    pytester = project(OTHERS)
    pytester.makeini("[pytest]\nstrict = true\nmarkers = tier(n): importance\n")
    result = pytester.runpytest_inprocess(*arguments)
    result.assert_outcomes(passed=int(arguments not in (("app",), ("campaigns",))))
    assert not (pytester.path / ".asiarc").exists()


def test_a_file_of_theirs_that_is_named_is_an_ordinary_one(project):
    pytester = project({"campaign_mailer.py": "def test_theirs(): pass\n"})
    assert collected(pytester, "campaign_mailer.py") == ["campaign_mailer.py::test_theirs"]


CONFLICTS = """\
def pytest_addoption(parser):
    for name in ("--tier", "--plan", "--store", "--fresh", "--workers", "--release", "--llm", "--retry"):
        parser.addoption(name, default="theirs")

def pytest_configure(config):
    assert config.getoption("--workers") == config.getoption("tier") == "theirs"
"""


def test_options_of_others_are_theirs_and_ours_have_a_prefix(project):
    pytester = project({"conftest.py": CONFLICTS, "campaigns/campaign_a.py": QUESTION})
    pytester.runpytest_inprocess("--asiarc-workers", "1", "--asiarc-plan").assert_outcomes()
    result = pytester.runpytest_inprocess("--asiarc-workers", "0")
    result.stderr.fnmatch_lines(["*--workers 0: give at least 1"])


def test_short_options_are_only_where_there_are_campaigns(project):
    pytester = project({"test_own.py": "def test_own(): pass\n"})
    assert pytester.runpytest_inprocess("--plan").ret == pytest.ExitCode.USAGE_ERROR
    project({"campaigns/campaign_a.py": QUESTION})
    assert pytester.runpytest_inprocess("--plan").ret == pytest.ExitCode.OK


def test_without_campaigns_nothing_is_loaded(project):
    """Neither pydantic nor the fixtures and markers; Hypothesis's plugin stays where it was."""
    pytester = project({"test_own.py": "def test_own(): pass\n"})
    code = (
        "import sys, pytest\n"
        "class Look:\n"
        "    def pytest_collection_finish(self, session):\n"
        "        print('loaded', [m for m in ('pydantic', 'asiarc.harness.collection') if m in sys.modules],\n"
        "              session.config.pluginmanager.has_plugin('hypothesispytest'))\n"
        "pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider'], plugins=[Look()])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=pytester.path, capture_output=True, text=True, check=True)
    assert "loaded [] True" in done.stdout


def test_what_importing_the_plugin_brings_is_a_handful_of_modules():
    """Counted, not timed: 7 ms of processor time go with it (`python -X importtime`), where 50 are allowed."""
    code = "import sys, pytest; had = set(sys.modules); import asiarc.harness.plugin; print(*set(sys.modules) - had)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    brought = done.stdout.split()
    assert {name.partition(".")[0] for name in brought} - sys.stdlib_module_names == {"asiarc"}
    assert len(brought) <= 8, brought


def test_it_can_be_left_out(project):
    """Under ``-p no:asiarc`` a campaign's file is any file, and neither an option nor a module of ours is there."""
    pytester = project({"campaigns/campaign_a.py": QUESTION, "test_own.py": LOADED})
    options = ["-p", "no:asiarc", "-p", "no:cacheprovider", "-q"]
    left_out = pytester.runpytest_subprocess(*options)
    left_out.assert_outcomes(passed=1)
    assert "asiarc" not in pytester.runpytest_subprocess(*options, "--help").stdout.str()
    assert not (pytester.path / ".asiarc").exists()


# --- where campaigns are declared -------------------------------------------------------------------------------------


def test_campaigns_lie_in_their_folder_or_are_named(project):
    pytester = project({f"{place}campaign_a.py": QUESTION for place in ("campaigns/", "app/", "")})
    assert collected(pytester) == IDS
    assert collected(pytester, "campaign_a.py") == [node.removeprefix("campaigns/") for node in IDS]
    assert collected(pytester, "app/campaign_a.py::question") == ["app/campaign_a.py::question::explore"]
    assert collected(pytester, "-o", "asiarc_paths=app") == [node.replace("campaigns", "app") for node in IDS]


@pytest.mark.parametrize("folder", ["a b", "ä*", "{x}?"])  # pytest itself refuses brackets
def test_odd_folders(project, folder, monkeypatch):
    pytester = project({f"{folder}/campaigns/campaign_a.py": QUESTION, f"{folder}/pytest.ini": "[pytest]\n"})
    monkeypatch.chdir(pytester.path / folder)
    assert collected(pytester) == IDS


def test_from_inside_the_folder(project, monkeypatch):
    pytester = project({"campaigns/campaign_a.py": QUESTION, "campaigns/campaign_b.toml": TOML})
    monkeypatch.chdir(pytester.path / "campaigns")
    assert len(collected(pytester)) == len(collected(pytester, ".")) == 3


def test_a_byte_order_mark_changes_nothing(project):
    pytester = project({"campaigns/campaign_a.py": "\ufeff" + QUESTION, "campaigns/campaign_b.toml": "\ufeff" + TOML})
    assert len(collected(pytester)) == 3


def test_asserts_of_campaigns_are_explained(project):
    text = QUESTION.replace("assert outcome.evaluated", "assert outcome.evaluated == 7")
    result = project({"campaigns/campaign_a.py": text}).runpytest_inprocess()
    result.stdout.fnmatch_lines(["*assert * == 7"])


# --- pytest-xdist -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dist", [(), ("--dist", "loadfile"), ("--dist", "worksteal")])
def test_a_plan_runs_nothing_under_xdist(project, dist, monkeypatch):
    monkeypatch.setattr(Lab, "executor", property(lambda lab: Refusing()))
    pytester = project({"campaigns/campaign_a.py": QUESTION, "test_own.py": "def test_own(): assert False\n"})
    result = pytester.runpytest_inprocess("--plan", "-p", "xdist", "-n", "2", *dist)
    assert result.ret == pytest.ExitCode.OK and "created: " not in result.stdout.str()
    result.stdout.fnmatch_lines(["*campaign_a.py::question::explore*", "*nothing was run (--plan)"])
    assert not (pytester.path / ".asiarc").exists()


CLAIM = """\
from asiarc.evidence.claims import Verdict, decides

@decides("C07")
def ahead(evidence):
    return Verdict("C07", "reproduced", f"by process {evidence.tier}")
"""
LABORATORY = """\
import pytest
from asiarc.harness.session import Lab
from tests.harness.fakes import FakeExecutor, still

Lab.executor = property(lambda lab: FakeExecutor())

@pytest.fixture(autouse=True, scope="session")
def a_still_laboratory():
    with still():
        yield
"""


def test_one_worker_of_xdist_runs_all_that_is_asiarcs(project):
    """Two campaigns and a claim share an archive that one process writes; the rest is spread, the table is not lost."""
    files = {f"campaigns/campaign_{letter}.py": QUESTION for letter in "ab"} | {"conftest.py": LABORATORY}
    claims = {"claim_a.py": CLAIM, "claims.toml": REGISTER, "verdicts.toml": ""}
    pytester = project(files | {f"reproductions/{name}": text for name, text in claims.items()})
    project({f"test_{n}.py": "def test_own(): pass\n" for n in range(4)})
    root = Path(__file__).parents[2]
    result = pytester.runpytest_subprocess("-n", "2", "-v", "--asiarc-no-report", "-o", f"pythonpath={root}")
    result.assert_outcomes(passed=9)
    lines = [line for line in result.outlines if "PASSED" in line]
    assert len({line.split("]")[0] for line in lines if "campaigns/" in line or "reproductions/" in line}) == 1
    result.stdout.fnmatch_lines(["*claims*", "C07 *reproduced *by process smoke"])
    assert sum("follow them with: asiarc watch" in line for line in result.outlines) == 1
