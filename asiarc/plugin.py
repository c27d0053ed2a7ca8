"""The pytest plugin: campaigns and claims as items, the options, the fixtures, the summary.

A `Campaign` object in a `campaign_*.py` file (or a `campaign_*.toml` file) is collected as its stages,
``file::name::explore``, ``::verify``, ``::confirm``; the test functions below it are ordinary tests that ask the
`outcome` fixture. Functions under `@decides` in ``reproductions/claim_*.py`` are collected as claims. Nothing here
imports torch or scipy: collecting is instant, and running happens in worker processes.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from asiarc.errors import AsiarcError, CampaignError, EvidenceError
from asiarc.evidence.claims import (
    Mark,
    Verdict,
    check_snapshot,
    load_register,
    mark_of,
    reach_verdict,
    record_snapshot,
)
from asiarc.protocol import TIERS, StageName, Tier
from asiarc.spec import Campaign, load_toml

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.loop import Run
    from asiarc.results import CampaignResult

CAMPAIGN_FILES, CLAIM_FILES = "campaign_*.py", "claim_*.py"


# --- options ----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that asiarc adds to pytest; each has its section in the README."""
    group = parser.getgroup("asiarc", "architecture discovery")
    group.addoption(
        "--tier", choices=TIERS, default="smoke", help="how much compute is spent (default: smoke)"
    )
    group.addoption(
        "--plan", action="store_true", help="print what each campaign would do and cost, and run nothing"
    )
    group.addoption("--fresh", action="store_true", help="set the archive aside and start from an empty one")
    group.addoption(
        "--workers", type=int, default=2, metavar="N", help="processes that train at once (default: 2)"
    )
    group.addoption(
        "--store", type=Path, default=None, metavar="DIR", help="the archive's folder (default: .asiarc)"
    )
    group.addoption(
        "--release", type=Path, default=None, metavar="DIR", help="the paper's released data, if you have it"
    )
    group.addoption("--strict-claims", action="store_true", help="a contradicted claim fails its item")
    group.addoption(
        "--accept-verdicts",
        default=None,
        metavar="NOTE",
        help="record changed verdicts, with a note that says why",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and the session's shared state."""
    config.addinivalue_line("markers", "claim(id): the test speaks to a claim of the register")
    config.addinivalue_line("markers", "tier(name): the test needs at least this tier")
    if config.option.workers < 1:
        raise pytest.UsageError(f"--workers {config.option.workers}: give at least 1")
    config.stash[_LAB] = Lab(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what the session opened."""
    if _LAB in config.stash:
        config.stash[_LAB].close()


class Lab:
    """What a session shares: one archive, one executor, both opened when first needed."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.tier: Tier = config.option.tier
        self.folder = Path(config.option.store or config.rootpath / ".asiarc")
        self.verdicts: list[Verdict] = []
        self._archive: Archive | None = None
        self._executor: Any = None
        self._runs: dict[str, Run] = {}

    @property
    def archive(self) -> Archive:
        """The archive, set aside first when --fresh was given."""
        from asiarc.archive.store import Archive

        if self._archive is None:
            if self.config.option.fresh and (self.folder / "archive.db").exists():
                aside = self.folder.with_name(f"{self.folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
                self.folder.rename(aside)
                self.say(f"the earlier archive is kept in {aside}")
            self._archive = Archive(self.folder)
        return self._archive

    @property
    def executor(self) -> Any:
        """The pool of warm workers."""
        from asiarc.execution import LocalExecutor
        from asiarc.tasks.corpus import cache_folder

        if self._executor is None:
            self._executor = LocalExecutor(
                self.config.option.workers,
                preload=("torch", "asiarc.engineer.warm"),
                readable=(cache_folder(),),
            )
        return self._executor

    def run(self, campaign: Campaign, name: str) -> Run:
        """One campaign's run at this session's tier; its minutes count from the first call."""
        from asiarc.engineer.workshop import Workshop
        from asiarc.loop import Run

        if name not in self._runs:
            deadline = time.monotonic() + 60 * campaign.budget.at(self.tier).minutes
            workshop = Workshop(self.archive, self.executor, deadline=deadline)
            self._runs[name] = Run(campaign, name, self.tier, self.archive, workshop, self.say, self.detail)
        return self._runs[name]

    def say(self, line: str) -> None:
        """A line of progress, past pytest's capture."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        capture = self.config.pluginmanager.getplugin("capturemanager")
        if reporter is None or self.config.option.verbose < 0:
            return
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            reporter.ensure_newline()
            reporter.write_line(line)

    def detail(self, line: str) -> None:
        """A line that only -v shows."""
        if self.config.option.verbose > 0:
            self.say(line)

    def close(self) -> None:
        """End the workers and give the archive back."""
        if self._executor is not None:
            self._executor.close()
        if self._archive is not None:
            self._archive.close()


_LAB = pytest.StashKey[Lab]()


# --- collection -------------------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Campaign and claim files, also where python_files does not name them."""
    if file_path.match("campaign_*.toml"):
        return TomlCampaign.from_parent(parent, path=file_path)
    named = any(fnmatch(file_path.name, pattern) for pattern in parent.config.getini("python_files"))
    if named or parent.session.isinitpath(file_path):
        return None  # pytest's own hook takes it, and asks makemodule below
    return pytest_pycollect_makemodule(file_path, parent)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Our files become our modules."""
    if module_path.match(CAMPAIGN_FILES):
        return CampaignModule.from_parent(parent, path=module_path)
    if module_path.match(CLAIM_FILES):
        return ClaimModule.from_parent(parent, path=module_path)
    return None


class CampaignModule(pytest.Module):
    """A campaign file: a Python module whose declaration errors are told at their line."""

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        error = excinfo.value
        if isinstance(error, AsiarcError):
            frame = next((e for e in reversed(excinfo.traceback) if Path(str(e.path)) == self.path), None)
            line = _field_line(self.path, getattr(error, "field", ""), frame.lineno + 1 if frame else 1)
            return f"{self.path}:{line}: {error}"
        return super().repr_failure(excinfo)


def _field_line(path: Path, field: str, line: int) -> int:
    """The line of the keyword `field` in the call that starts at or spans `line`; `line` where there is none."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    around = [call for call in calls if call.lineno <= line <= (call.end_lineno or call.lineno)]
    lines = [keyword.value.lineno for call in around for keyword in call.keywords if keyword.arg == field]
    return lines[0] if lines else line


class TomlCampaign(pytest.File):
    """A campaign as data."""

    def collect(self) -> list[pytest.Collector]:
        return [CampaignNode.of(self, self.path.stem.removeprefix("campaign_"), load_toml(self.path))]

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, AsiarcError):
            field = getattr(excinfo.value, "field", "")
            lines = self.path.read_text().splitlines()
            line = next(
                (
                    n
                    for n, text in enumerate(lines, 1)
                    if field and text.lstrip().startswith((field, f"[{field}"))
                ),
                1,
            )
            return f"{self.path}:{line}: {excinfo.value}"
        return super().repr_failure(excinfo)


def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Any:
    """A `Campaign` becomes its stages, a decider of a claim becomes a claim item."""
    if isinstance(obj, Campaign):
        return CampaignNode.of(collector, name, obj)
    mark = mark_of(obj)
    if mark is not None and isinstance(collector, ClaimModule):
        return ClaimItem.from_parent(collector, name=name, decider=obj, mark=mark)
    return None


class CampaignNode(pytest.Collector):
    """A campaign in the tree: file::name::stage."""

    campaign: Campaign

    @classmethod
    def of(cls, parent: pytest.Collector, name: str, campaign: Campaign) -> CampaignNode:
        node: CampaignNode = cls.from_parent(parent, name=name)
        node.campaign = campaign
        return node

    def collect(self) -> list[pytest.Item]:
        self.campaign.budget.at(self.config.option.tier)
        return [StageItem.from_parent(self, name=stage) for stage in self.campaign.stages]

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        return (
            f"{self.path}: {self.name}: {excinfo.value}"
            if isinstance(excinfo.value, AsiarcError)
            else super().repr_failure(excinfo)
        )


class StageItem(pytest.Item):
    """One stage of one campaign; names carry no brackets, which --lf would trip over."""

    parent: CampaignNode

    @property
    def stage(self) -> StageName:
        """The stage that this item runs; its name."""
        return cast("StageName", self.name)

    def runtest(self) -> None:
        lab = self.config.stash[_LAB]
        run = lab.run(self.parent.campaign, self.parent.name)
        lab.say(f"{self.parent.name} {self.name} at tier {lab.tier}, run {run.run}")
        result = run.ensure(self.stage)
        self.user_properties += [
            ("asiarc_run", run.run),
            ("tier", lab.tier),
            ("entrants", len(result["entrants"])),
        ]
        if self.name == "explore" and not result["finalists"]:
            raise EvidenceError(
                f"none of {result['candidates']} candidates was scored; asiarc why-rejected lists the reasons"
            )

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        return (
            f"{self.nodeid}: {excinfo.value}"
            if isinstance(excinfo.value, AsiarcError)
            else super().repr_failure(excinfo)
        )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.parent.name}::{self.name}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Within a file the stages come before the tests that ask about them; the order of files stays."""
    first_of = {item.path: index for index, item in reversed(list(enumerate(items)))}
    items.sort(key=lambda item: (first_of[item.path], not isinstance(item, StageItem)))


# --- claims -----------------------------------------------------------------------------------------------------------


class ClaimModule(pytest.Module):
    """A file of deciders."""

    def collect(self) -> Any:
        return [item for item in super().collect() if isinstance(item, ClaimItem)]


class ClaimItem(pytest.Item):
    """One decider: passes when it reaches a verdict that the snapshot knows, whichever way the verdict goes."""

    def __init__(self, *, decider: Any, mark: Mark, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decider, self.mark = decider, mark
        self.add_marker(pytest.mark.claim(mark.claim))

    def runtest(self) -> None:
        from asiarc.report.evidence import LabEvidence

        lab = self.config.stash[_LAB]
        if TIERS.index(lab.tier) < TIERS.index(self.mark.tier):
            pytest.skip(f"{self.mark.claim} needs tier {self.mark.tier}")
        register = load_register(self.path.parent / "claims.toml")
        if self.mark.claim not in register:
            raise EvidenceError(
                f"claim {self.mark.claim} is not in {self.path.parent / 'claims.toml'}; add it there first"
            )
        evidence = LabEvidence(lab.archive, lab.tier, self.path.parent, self.config.option.release)
        verdict = reach_verdict(self.decider, evidence, register[self.mark.claim])
        lab.verdicts.append(verdict)
        lab.archive.add_verdict(self.mark.claim, lab.tier, self.nodeid, verdict.as_dict())
        self.user_properties += [("claim", verdict.claim), ("verdict", verdict.verdict)]
        lab.say(f"  {verdict.claim:<5} {verdict.verdict:<28} {verdict.statement}")
        self._hold_against_snapshot(verdict)
        if self.config.option.strict_claims and verdict.verdict == "contradicted":
            raise EvidenceError(f"{verdict.claim} is contradicted: {verdict.statement}")

    def _hold_against_snapshot(self, verdict: Verdict) -> None:
        path = self.path.parent / "verdicts.toml"
        if self.config.option.accept_verdicts is not None:
            record_snapshot([verdict], path, note=self.config.option.accept_verdicts)
        for drift in check_snapshot([verdict], path):
            if drift.recorded is not None:  # a tier that was never recorded has nothing to drift from
                raise EvidenceError(drift.explain() + " Accept it with --accept-verdicts 'why'")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        return (
            f"{self.nodeid}: {excinfo.value}"
            if isinstance(excinfo.value, AsiarcError)
            else super().repr_failure(excinfo)
        )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"claim {self.mark.claim}: {self.name}"


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
    return pytestconfig.stash[_LAB].archive


@pytest.fixture(scope="session")
def tier(pytestconfig: pytest.Config) -> str:
    """The session's tier."""
    return str(pytestconfig.option.tier)


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest) -> Iterator[CampaignResult]:
    """What the campaign of this file found; stages that are missing in the archive are run first."""
    from asiarc.results import CampaignResult

    lab = request.config.stash[_LAB]
    campaign, name = _campaign_of(request)
    run = lab.run(campaign, name)
    for stage in campaign.stages:
        run.ensure(stage)
    yield CampaignResult.load(lab.archive, run.run)


@pytest.fixture(scope="module")
def winner(outcome: CampaignResult) -> Any:
    """The candidate that verify picked and confirm tested."""
    return outcome.winner


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what asks for a larger tier."""
    marker = item.get_closest_marker("tier")
    if marker and TIERS.index(item.config.option.tier) < TIERS.index(marker.args[0]):
        pytest.skip(f"needs tier {marker.args[0]}")


# --- plan and summary -------------------------------------------------------------------------------------------------


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With --plan: say what would be done and do none of it."""
    if not session.config.option.plan or session.testsfailed:
        return None
    from asiarc.report.plan import plan_lines

    lab = session.config.stash[_LAB]
    stages = [item for item in session.items if isinstance(item, StageItem)]
    lines = plan_lines(
        [(item.nodeid, item.parent.campaign, item.parent.name, item.stage) for item in stages],
        lab.tier,
        lab.folder,
        session.config.option.workers,
    )
    for line in lines:
        lab.say(line)
    return True


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The claim table and the winners, after pytest's own summary."""
    lab = config.stash[_LAB]
    if lab.verdicts:
        terminalreporter.section("claims")
        for verdict in sorted(lab.verdicts, key=lambda v: v.claim):
            terminalreporter.write_line(f"{verdict.claim:<5} {verdict.verdict:<28} {verdict.statement}")
