"""The pytest plugin: options, collection, the fixtures, the summary. What is collected is in `asiarc.harness.items`.

A `Campaign` object in a `campaign_*.py` file (or a `campaign_*.toml` file) is collected as its stages,
``file::name::explore``, ``::verify``, ``::confirm``; the test functions below it are ordinary tests that ask the
`outcome` fixture. Functions under `@decides` in ``reproductions/claim_*.py`` are collected as claims. Nothing here
imports torch or scipy: collecting is instant, and running happens in worker processes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asiarc.campaign.declaration import Campaign
from asiarc.core.errors import AsiarcError, CampaignError, unknown_name
from asiarc.core.recipe import TIERS
from asiarc.evidence.claims import mark_of
from asiarc.harness.items import ArmItem, CampaignModule, CampaignNode, ClaimItem, ClaimModule, StageItem, TomlCampaign
from asiarc.harness.session import LAB, Lab

if TYPE_CHECKING:
    from asiarc.archive.results import CampaignResult
    from asiarc.archive.store import Archive

CAMPAIGN_FILES, CLAIM_FILES = "campaign_*.py", "claim_*.py"


# --- options ----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that asiarc adds to pytest; each has its section in the README."""
    group = parser.getgroup("asiarc", "architecture discovery")
    group.addoption("--tier", choices=TIERS, default="smoke", help="how much compute is spent (default: smoke)")
    group.addoption("--plan", action="store_true", help="print what each campaign would do and cost, and run nothing")
    group.addoption("--fresh", action="store_true", help="set the archive aside and start from an empty one")
    group.addoption("--workers", type=int, default=2, metavar="N", help="processes that train at once (default: 2)")
    group.addoption("--store", type=Path, default=None, metavar="DIR", help="the archive's folder (default: .asiarc)")
    group.addoption("--executor", choices=("local", "ray"), default="local", help="where trials run (docs/cluster.md)")
    group.addoption(
        "--ray-address", default=None, metavar="HOST:PORT", help="the cluster's head (default: the one that is near)"
    )
    group.addoption("--gpus-per-job", type=float, default=0, metavar="N", help="on a cluster: GPUs of each job")
    group.addoption(
        "--llm",
        choices=("replay", "record", "live"),
        default="replay",
        help="answer language models' questions from what is recorded (default), ask for what is not, or ask for all",
    )
    group.addoption(
        "--llm-base-url", default=None, metavar="URL", help="an OpenAI-compatible endpoint (default: OpenAI's own)"
    )
    group.addoption(
        "--llm-model",
        action="append",
        default=[],
        metavar="ROLE=NAME",
        help="ask another model in a role than the campaign names (it must be priced there)",
    )
    group.addoption(
        "--release", type=Path, default=None, metavar="DIR", help="the paper's released data, if you have it"
    )
    group.addoption("--claims-only", default="", metavar="IDS", help="decide only these claims, e.g. C07a,C29")
    group.addoption("--strict-claims", action="store_true", help="a contradicted claim fails its item")
    group.addoption(
        "--accept-verdicts", default=None, metavar="NOTE", help="record changed verdicts, with a note that says why"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, our files (pytest collects them and rewrites their asserts) and the shared state."""
    for pattern in (CAMPAIGN_FILES, CLAIM_FILES):
        config.addinivalue_line("python_files", pattern)
    config.addinivalue_line("markers", "claim(id): the test speaks to a claim of the register")
    config.addinivalue_line("markers", "tier(name): the test needs at least this tier")
    if config.option.ray_address and config.option.executor != "ray":
        raise pytest.UsageError("--ray-address names a cluster: add --executor ray")
    if config.option.executor == "ray":  # its jobs see the GPUs that they ask for, whatever this machine has
        os.environ.setdefault("ASIARC_DEVICE", "cuda" if config.option.gpus_per_job else "cpu")
    if config.option.workers < 1:
        raise pytest.UsageError(f"--workers {config.option.workers}: give at least 1")
    config.stash[LAB] = Lab(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what the session opened."""
    if LAB in config.stash:
        config.stash[LAB].close()


# --- collection -------------------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Campaigns as data; those in Python are pytest's own to find."""
    return TomlCampaign.from_parent(parent, path=file_path) if file_path.match("campaign_*.toml") else None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Our files become our modules."""
    if module_path.match(CAMPAIGN_FILES):
        return CampaignModule.from_parent(parent, path=module_path)
    if module_path.match(CLAIM_FILES):
        return ClaimModule.from_parent(parent, path=module_path)
    return None


def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Any:
    """A `Campaign` in a campaign file becomes its stages, a decider in a claim file a claim item."""
    if isinstance(obj, Campaign) and isinstance(collector, CampaignModule):
        return CampaignNode.of(collector, name, obj)
    mark = mark_of(obj)
    if mark is not None and isinstance(collector, ClaimModule):
        return ClaimItem.from_parent(collector, name=name, decider=obj, mark=mark)
    return None


@pytest.hookimpl(tryfirst=True)  # --stepwise and its like count in the order that runs
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Claims that need no campaign first (they take seconds), then each file's stages before the tests that ask about
    them, then the claims that the campaigns decide; the order of files stays. --claims-only deselects other claims."""
    wanted = [claim for claim in config.option.claims_only.split(",") if claim]
    dropped = [item for item in items if wanted and isinstance(item, ClaimItem) and item.mark.claim not in wanted]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]
    first_of = {item.path: index for index, item in reversed(list(enumerate(items)))}

    def place(item: pytest.Item) -> tuple[int, int, bool]:
        phase = (2 if item.needs_campaign else 0) if isinstance(item, ClaimItem) else 1
        return phase, first_of[item.path], not isinstance(item, (StageItem, ArmItem))

    items.sort(key=place)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Looking is instant: Hypothesis's plugin imports all of Hypothesis for a summary of tests that did not run."""
    pluginmanager, option = session.config.pluginmanager, session.config.option
    nothing_runs = option.collectonly or option.plan
    if nothing_runs and "hypothesis" not in sys.modules and pluginmanager.has_plugin("hypothesispytest"):
        pluginmanager.unregister(name="hypothesispytest")


# --- fixtures ---------------------------------------------------------------------------------------------------------


def _campaign_of(request: pytest.FixtureRequest) -> tuple[Campaign, str]:
    found = [(value, name) for name, value in vars(request.module).items() if isinstance(value, Campaign)]
    if len(found) != 1:
        raise CampaignError(
            f"{request.path} declares {len(found)} campaigns; the outcome fixture needs exactly one in the file"
        )
    return found[0]


@pytest.fixture(scope="session")
def archive(pytestconfig: pytest.Config) -> Archive:
    """The session's archive."""
    return pytestconfig.stash[LAB].archive


@pytest.fixture(scope="session")
def tier(pytestconfig: pytest.Config) -> str:
    """The session's tier."""
    return str(pytestconfig.option.tier)


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest) -> CampaignResult:
    """What the campaign of this file found; stages that are missing in the archive are run first."""
    from asiarc.archive.results import CampaignResult

    lab = request.config.stash[LAB]
    campaign, name = _campaign_of(request)
    run = lab.run(campaign, name, request.path)
    try:
        for stage in campaign.stages:
            run.ensure(stage)
    except AsiarcError as error:
        pytest.fail(f"{name} could not be run: {error}", pytrace=False)
    return CampaignResult.load(lab.archive, run.run)


@pytest.fixture(scope="module")
def winner(outcome: CampaignResult) -> Any:
    """The candidate that verify picked and confirm tested."""
    return outcome.winner


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what asks for a larger tier."""
    marker = item.get_closest_marker("tier")
    if marker and marker.args[:1] not in [(tier,) for tier in TIERS]:
        given = str(marker.args[0]) if marker.args else ""
        raise CampaignError(unknown_name("tier", given, TIERS, then="Write @pytest.mark.tier('quick')."))
    if marker and TIERS.index(item.config.option.tier) < TIERS.index(marker.args[0]):
        pytest.skip(f"needs tier {marker.args[0]}")


# --- plan and summary -------------------------------------------------------------------------------------------------


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With --plan: say what would be done and do none of it."""
    if not session.config.option.plan or session.testsfailed:
        return None
    from asiarc.studies.plan import plan_lines

    lab = session.config.stash[LAB]
    rows = [row for item in session.items if isinstance(item, (StageItem, ArmItem)) for row in item.planned()]
    lines = plan_lines(rows, lab.tier, lab.folder, session.config.option.workers)
    for line in lines:
        lab.say(line, always=True)
    return True


def pytest_terminal_summary(terminalreporter: Any, exitstatus: pytest.ExitCode, config: pytest.Config) -> None:
    """The claim table after pytest's own summary; after Ctrl-C, how to go on."""
    lab = config.stash[LAB]
    if exitstatus == pytest.ExitCode.INTERRUPTED and lab.has_run:
        terminalreporter.write_line(
            f"stopped; every finished trial is kept in {lab.folder}: the same command goes on from there"
        )
    spend = [f"{run.label}: {line}" for run in lab.runs for line in run.team.spend()]
    if spend:
        terminalreporter.section("language models")
        for line in spend:
            terminalreporter.write_line(line)
    if any(run.campaign.arm for run in lab.runs):
        from asiarc.studies.arms import arm_lines

        terminalreporter.section("arms")
        for line in arm_lines(lab.archive, [(run.name, run.campaign.arm, run.run) for run in lab.runs]):
            terminalreporter.write_line(line)
    if lab.verdicts:
        terminalreporter.section("claims")
        for verdict in sorted(lab.verdicts, key=lambda v: v.claim):
            terminalreporter.write_line(f"{verdict.claim:<5} {verdict.verdict:<28} {verdict.statement}")
