"""The harness's tests train nothing, read no corpus (the driver asks for its hash only), ask git for nothing,
and hold the sizes of the stages still."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import scipy.stats  # noqa: F401  pytest inside pytest would drop it, and a second time it cannot be imported
from click.testing import CliRunner

import asiarc.cognition.base
import asiarc.engineer.workshop
import asiarc.evidence.effects  # what a test would otherwise import in its own time
from asiarc.harness.cli import main

from ..llm.laboratory import fingerprinted
from .fakes import FakeExecutor, still

DECLARED = """
from asiarc import Budget, Campaign, Stage, by_tier

question = Campaign(
    start_from="delta_net", baselines=("delta_net", "mamba2"), researcher="open", match=(), policy="best_of_n",
    explore=Stage(tasks=("text",), seeds=3), verify=Stage(tasks=("text",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=4, minutes=60)),
)
"""


@pytest.fixture(autouse=True)
def a_still_laboratory():
    with still():
        yield


@pytest.fixture
def pytester(pytester):
    """A folder that is a root of its own, all of it for campaigns, where every warning is an error."""
    pytester.makeini("[pytest]\nfilterwarnings = error\nasiarc_paths = .\naddopts = --asiarc-no-report\n")
    return pytester


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """The command line in a project with one open campaign, its trainings the laboratory's."""

    @contextmanager
    def laboratory(_):
        yield FakeExecutor(ends=fingerprinted)

    (tmp_path / "campaigns").mkdir()
    (tmp_path / "campaigns" / "campaign_open.py").write_text(DECLARED)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asiarc.engineer.workshop, "trial_executor", laboratory)

    def typed(*words, status=0):
        with still():
            done = CliRunner().invoke(main, words, env={"COLUMNS": "200"})
        assert done.exit_code == status, (done.output, done.exception)
        return json.loads(done.stdout) if "--json" in words else done.output

    return SimpleNamespace(typed=typed, folder=tmp_path)
