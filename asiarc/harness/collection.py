"""What asiarc does in a pytest session that has something for it: collection, the fixtures, the plan, the summary.

A `Campaign` object in a `campaign_*.py` file (or a `campaign_*.toml` file) is collected as its stages,
``file::name::explore``, ``::verify``, ``::confirm``; the test functions below it are ordinary tests that ask the
`outcome` fixture. A `Kernel` in a `kernel_*.py` file is collected as its checks, ``file::name::accuracy`` and so on.
Functions under `@decides` in ``claim_*.py`` are collected as claims. Nothing here imports torch or
scipy: collecting is instant, and running happens in worker processes.

Under pytest-xdist all that asiarc collects goes to one worker, in order: one archive has one writer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asiarc.campaign.kernels import AnyCampaign, KernelCampaign
from asiarc.campaign.loading import declared_in
from asiarc.core.errors import AsiarcError, CampaignError, unknown_name
from asiarc.core.kernel import Kernel
from asiarc.core.recipe import ON_GPU, TIERS
from asiarc.evidence.claims import mark_of
from asiarc.harness.items import ArmItem, CampaignModule, CampaignNode, ClaimItem, ClaimModule, StageItem, TomlCampaign
from asiarc.harness.kernel_items import KernelModule, KernelNode
from asiarc.harness.options import folded
from asiarc.harness.plugin import CAMPAIGN_FILES, CLAIM_FILES, KERNEL_FILES, PLACES, TOML_FILES
from asiarc.harness.session import LAB, Lab

if TYPE_CHECKING:
    from asiarc.archive.results import CampaignResult
    from asiarc.archive.store import Archive
    from asiarc.loop.kernels import KernelOutcome

OUTCOME = {"outcome", "winner"}  # the fixtures that run a campaign


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist starts its workers
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and the shared state; refuse what the options cannot mean."""
    option = config.option
    config.addinivalue_line("markers", "claim(id): the test speaks to a claim of the register")
    config.addinivalue_line("markers", "tier(name): the test of a campaign needs at least this tier")
    if option.asiarc_ray_address and option.asiarc_executor != "ray":
        raise pytest.UsageError("--ray-address names a cluster: add --executor ray")
    if option.asiarc_executor == "ray":  # its jobs see the GPUs that they ask for, whatever this machine has
        wants_gpu = option.asiarc_gpus_per_job or option.asiarc_tier in ON_GPU
        os.environ.setdefault("ASIARC_DEVICE", "cuda" if wants_gpu and not option.asiarc_dry_run else "cpu")
    if option.asiarc_workers < 1:
        raise pytest.UsageError(f"--workers {option.asiarc_workers}: give at least 1")
    if option.asiarc_plan and option.asiarc_dry_run:
        raise pytest.UsageError("--plan runs nothing, --dry-run a little: give one of them")
    if option.asiarc_release and not option.asiarc_release.is_dir():
        raise pytest.UsageError(f"--release {option.asiarc_release}: no such folder; give the one that holds tree.json")
    if option.asiarc_plan and hasattr(option, "dist"):
        option.dist, option.tx = "no", []  # a plan needs no workers of pytest-xdist
    config.stash[LAB] = Lab(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what the session opened."""
    if LAB in config.stash:
        config.stash[LAB].close()


# --- collection -------------------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Campaigns as data; those in Python are pytest's own to find."""
    is_ours = parent.config.stash[PLACES].holds(file_path, TOML_FILES)
    return TomlCampaign.from_parent(parent, path=file_path) if is_ours else None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Our files become our modules."""
    places = parent.config.stash[PLACES]
    if places.holds(module_path, CAMPAIGN_FILES):
        return CampaignModule.from_parent(parent, path=module_path)
    if places.holds(module_path, CLAIM_FILES):
        return ClaimModule.from_parent(parent, path=module_path)
    if places.holds(module_path, KERNEL_FILES):
        return KernelModule.from_parent(parent, path=module_path)
    return None


def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Any:
    """A `Campaign` in a campaign file becomes its stages, a `Kernel` in a kernel file its checks, a decider in a claim
    file a claim item."""
    if isinstance(obj, AnyCampaign) and isinstance(collector, CampaignModule):
        return CampaignNode.of(collector, name, obj)
    if isinstance(obj, Kernel) and isinstance(collector, KernelModule):
        return KernelNode.of(collector, name, obj)
    mark = mark_of(obj)
    if mark is not None and isinstance(collector, ClaimModule):
        return ClaimItem.from_parent(collector, name=name, decider=obj, mark=mark)
    return None


@pytest.hookimpl(tryfirst=True)  # --stepwise and its like count in the order that runs
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Claims that need no campaign first (they take seconds), then each file's stages before the tests that ask about
    them, then the claims that the campaigns decide; the order of files stays. --claims-only deselects other claims, the
    tier the campaigns that do not declare it."""
    wanted = [claim for claim in config.option.asiarc_claims_only.split(",") if claim]
    dropped = _without_tier(config, items)
    dropped += [item for item in items if wanted and isinstance(item, ClaimItem) and item.mark.claim not in wanted]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]
    first_of = {item.path: index for index, item in reversed(list(enumerate(items)))}

    def place(item: pytest.Item) -> tuple[int, int, bool]:
        phase = (2 if item.needs_campaign else 0) if isinstance(item, ClaimItem) else 1
        return phase, first_of[item.path], not isinstance(item, (StageItem, ArmItem))

    items.sort(key=place)


def _without_tier(config: pytest.Config, items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The items of campaigns that have no budget at this tier, with a line for each campaign."""
    lab = config.stash[LAB]
    asked = [(item, name, campaign) for item in items for name, campaign in campaigns_asked(item)]
    missing = [one for one in asked if lab.tier not in one[2].budget.tiers]
    told = (f"deselected {item.path.name}::{name}: {c.budget.without(lab.tier)}" for item, name, c in missing)
    for line in dict.fromkeys(told):
        lab.say(line, always=True)
    return [item for item, _, _ in missing]


def campaigns_asked(item: pytest.Item) -> list[tuple[str, AnyCampaign]]:
    """The campaign that an item runs, or asks about by its fixtures, with its name."""
    if isinstance(item, (StageItem, ArmItem)):
        return [(item.parent.name, item.parent.campaign)]
    module = item.getparent(CampaignModule)
    return declared_in(module.obj) if module and OUTCOME & set(getattr(item, "fixturenames", ())) else []


def is_ours(item: pytest.Item) -> bool:
    """Whether an item stands in a file of asiarc's."""
    return any(item.getparent(kind) for kind in (CampaignModule, TomlCampaign, ClaimModule, KernelModule))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """With --plan: say what would be done, and leave nothing that any plugin could run. Looking at campaigns alone is
    instant: Hypothesis's plugin would import all of Hypothesis for a summary of tests that did not run."""
    pluginmanager, option = session.config.pluginmanager, session.config.option
    nothing_runs = (option.collectonly or option.asiarc_plan) and all(map(is_ours, session.items))
    if nothing_runs and "hypothesis" not in sys.modules and pluginmanager.has_plugin("hypothesispytest"):
        pluginmanager.unregister(name="hypothesispytest")
    if option.asiarc_plan and not option.collectonly and not session.testsfailed:
        _say_plan(session)
        session.items = []


def _say_plan(session: pytest.Session) -> None:
    from asiarc.studies.plan import plan_lines

    lab = session.config.stash[LAB]
    rows = [row for item in session.items if isinstance(item, (StageItem, ArmItem)) for row in item.planned()]
    for line in plan_lines(rows, lab.tier, lab.folder, session.config.option.asiarc_workers, lab.width):
        lab.say(line, always=True)


# --- pytest-xdist -----------------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What asiarc collects is one piece of work; the rest is dealt out as was asked."""
    from xdist.scheduler import LoadFileScheduling, LoadGroupScheduling, LoadScopeScheduling  # type: ignore[import-untyped]

    grouped = {"loadfile": LoadFileScheduling, "loadgroup": LoadGroupScheduling, "loadscope": LoadScopeScheduling}
    places, dist = config.stash[PLACES], config.option.dist
    base = grouped.get(dist, LoadScopeScheduling)

    class OneWorker(base):  # type: ignore[valid-type, misc]
        def _split_scope(self, nodeid: str) -> str:
            file = config.rootpath / nodeid.partition("::")[0]
            if places.holds(file, CAMPAIGN_FILES, CLAIM_FILES, TOML_FILES):
                return "asiarc"
            return super()._split_scope(nodeid) if dist in grouped else nodeid

    return OneWorker(config, log) if dist != "each" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """A worker has no terminal: once, where the run can be followed."""
    config = node.config
    lab, places = config.stash[LAB], config.stash[PLACES]
    ours = (config.rootpath / nodeid.partition("::")[0] for nodeid in ids)
    if not lab.is_elsewhere and any(places.holds(file, CAMPAIGN_FILES, TOML_FILES) for file in ours):
        lab.is_elsewhere = True
        lab.say("campaigns run one after another in one worker of pytest-xdist; follow them with: asiarc watch")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker has to say at the end, said by the session that has the terminal."""
    node.config.stash[LAB].told += getattr(node, "workeroutput", {}).get("asiarc", [])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its summary to the session that started it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["asiarc"] = summary(session.config.stash[LAB])


# --- fixtures ---------------------------------------------------------------------------------------------------------


def _campaign_of(request: pytest.FixtureRequest) -> tuple[str, AnyCampaign]:
    found = declared_in(request.module)
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
    return str(pytestconfig.option.asiarc_tier)


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest) -> CampaignResult | KernelOutcome:
    """What the campaign of this file found; stages that are missing in the archive are run first."""
    from asiarc.archive.results import CampaignResult

    lab = request.config.stash[LAB]
    name, campaign = _campaign_of(request)
    try:
        if isinstance(campaign, KernelCampaign):
            timed = lab.kernel_run(campaign, name)
            for stage in campaign.stages:
                timed.ensure(stage)
            return timed.outcome()
        run = lab.run(campaign, name, request.path)
        for stage in campaign.stages:
            lab.ensure(run, stage)
    except AsiarcError as error:
        pytest.fail(f"{name} could not be run: {error}", pytrace=False)
    return CampaignResult.load(lab.archive, run.run)


@pytest.fixture(scope="module")
def winner(outcome: CampaignResult | KernelOutcome) -> Any:
    """The candidate that verify picked and confirm tested."""
    return outcome.winner


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what asks for a larger tier in a file of asiarc's; elsewhere the mark is somebody else's."""
    marker = item.get_closest_marker("tier") if is_ours(item) else None
    if marker and marker.args[:1] not in [(tier,) for tier in TIERS]:
        given = str(marker.args[0]) if marker.args else ""
        raise CampaignError(unknown_name("tier", given, TIERS, then="Write @pytest.mark.tier('quick')."))
    if marker and TIERS.index(item.config.option.asiarc_tier) < TIERS.index(marker.args[0]):
        pytest.skip(f"needs tier {marker.args[0]}")
    if is_ours(item) and OUTCOME & set(getattr(item, "fixturenames", ())) and item.config.stash[LAB].is_dry:
        pytest.skip("a dry run has no outcome to ask about")


# --- summary ----------------------------------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: Any, exitstatus: pytest.ExitCode, config: pytest.Config) -> None:
    """The claim table after pytest's own summary; after Ctrl-C, how to go on; what a CI's page shows, as asked."""
    lab = config.stash[LAB]
    if config.option.asiarc_summary:
        _write_summary(terminalreporter.stats, config)

    def write(line: str) -> None:
        for part in folded(line, lab.width) if lab.width else [line]:
            terminalreporter.write_line(part)

    if exitstatus == pytest.ExitCode.INTERRUPTED and lab.has_run:
        write(f"stopped; every finished trial is kept in {lab.folder}: the same command goes on from there")
    for title, lines in lab.told or summary(lab):
        terminalreporter.section(title)
        for line in lines:
            write(line)


def _write_summary(stats: dict[str, list[Any]], config: pytest.Config) -> None:
    from asiarc.harness.markdown import table, write

    places = config.stash[PLACES]
    patterns = (CAMPAIGN_FILES, CLAIM_FILES, KERNEL_FILES, TOML_FILES)
    told = (report for some in stats.values() for report in some if hasattr(report, "nodeid"))
    files = {report.nodeid.partition("::")[0] for report in told}
    ours = (file for file in files if places.holds(config.rootpath / file, *patterns))
    write(config.invocation_params.dir / config.option.asiarc_summary, table(stats, ours))


def summary(lab: Lab) -> list[tuple[str, list[str]]]:
    """What a session says at its end: titles, each with its lines."""
    spend = [f"{run.label}: {line}" for run in lab.runs for line in run.team.spend()]
    arms: list[str] = []
    if any(run.campaign.arm for run in lab.runs):
        from asiarc.studies.arms import arm_lines

        arms = arm_lines(lab.archive, [(run.name, run.campaign.arm, run.run) for run in lab.runs])
    verdicts = sorted(lab.verdicts, key=lambda v: v.claim)
    claims = [f"{verdict.claim:<5} {verdict.verdict:<28} {verdict.statement}" for verdict in verdicts]
    told = [("language models", spend), ("arms", arms), ("claims", claims), ("campaigns", lab.answers())]
    return [(title, lines) for title, lines in told if lines]
