"""The pytest plugin: campaigns and claims as items, the options, the fixtures, the summary.

A `Campaign` object in a `campaign_*.py` file (or a `campaign_*.toml` file) is collected as its stages,
``file::name::explore``, ``::verify``, ``::confirm``; the test functions below it are ordinary tests that ask the
`outcome` fixture. Functions under `@decides` in ``reproductions/claim_*.py`` are collected as claims. Nothing here
imports torch or scipy: collecting is instant, and running happens in worker processes.
"""

from __future__ import annotations

import ast
import re
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from asiarc.errors import AsiarcError, CampaignError, EvidenceError, unknown_name
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
    from asiarc.team import Connect

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
        "--executor", choices=("local", "ray"), default="local", help="where trials run (docs/cluster.md)"
    )
    group.addoption(
        "--ray-address",
        default=None,
        metavar="HOST:PORT",
        help="the cluster's head (default: the one that is near)",
    )
    group.addoption(
        "--gpus-per-job", type=float, default=0, metavar="N", help="on a cluster: GPUs of each job"
    )
    group.addoption(
        "--llm",
        choices=("replay", "record", "live"),
        default="replay",
        help="answer language models' questions from what is recorded (default), ask for what is not, or ask for all",
    )
    group.addoption(
        "--llm-base-url",
        default=None,
        metavar="URL",
        help="an OpenAI-compatible endpoint (default: OpenAI's own)",
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
    group.addoption(
        "--claims-only", default="", metavar="IDS", help="decide only these claims, e.g. C07a,C29"
    )
    group.addoption("--strict-claims", action="store_true", help="a contradicted claim fails its item")
    group.addoption(
        "--accept-verdicts",
        default=None,
        metavar="NOTE",
        help="record changed verdicts, with a note that says why",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, our files (pytest collects them and rewrites their asserts) and the shared state."""
    for pattern in (CAMPAIGN_FILES, CLAIM_FILES):
        config.addinivalue_line("python_files", pattern)
    config.addinivalue_line("markers", "claim(id): the test speaks to a claim of the register")
    config.addinivalue_line("markers", "tier(name): the test needs at least this tier")
    if config.option.ray_address and config.option.executor != "ray":
        raise pytest.UsageError("--ray-address names a cluster: add --executor ray")
    if config.option.workers < 1:
        raise pytest.UsageError(f"--workers {config.option.workers}: give at least 1")
    config.stash[LAB] = Lab(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what the session opened."""
    if LAB in config.stash:
        config.stash[LAB].close()


class Lab:
    """What a session shares: one archive, one executor, both opened when first needed."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.tier: Tier = config.option.tier
        self.folder = Path(config.option.store or config.rootpath / ".asiarc")
        self.verdicts: list[Verdict] = []
        self._archive: Archive | None = None
        self._executor: Any = None
        self._runs: dict[tuple[int, str], Run] = {}

    @property
    def archive(self) -> Archive:
        """The archive; with --fresh the earlier one is set aside first."""
        from asiarc.archive.store import Archive, set_aside

        if self._archive is None:
            if self.config.option.fresh and (self.folder / "archive.db").exists():
                self.say(f"the earlier archive is kept in {set_aside(self.folder)}")
            self._archive = Archive(self.folder)
        return self._archive

    @property
    def has_run(self) -> bool:
        """Whether this session has opened the archive to run something."""
        return self._archive is not None

    @property
    def executor(self) -> Any:
        """The pool of warm workers."""
        from asiarc.engineer.workshop import trial_executor

        if self._executor is None:
            option = self.config.option
            where = f"ray:{option.ray_address}" if option.ray_address else option.executor
            self._executor = trial_executor(option.workers, where, option.gpus_per_job)
        return self._executor

    def run(self, campaign: Campaign, name: str, file: Path, arm: str = "") -> Run:
        """One campaign's run (or one of its arms) at this session's tier; its minutes count from the first call."""
        from asiarc.engineer.workshop import Workshop
        from asiarc.loop import Run

        key = id(campaign), arm  # two files may use one name
        if key not in self._runs:
            asked = campaign.with_models(self.config.option.llm_model)
            asked = asked.as_arm(arm) if arm else asked
            deadline = time.monotonic() + 60 * asked.budget.at(self.tier).minutes
            workshop = Workshop(self.archive, self.executor, deadline=deadline)
            self._runs[key] = Run(
                asked, name, self.tier, self.archive, workshop, self.say, self.detail, self._connect(file)
            )
        return self._runs[key]

    @property
    def runs(self) -> list[Run]:
        """What ran in this session."""
        return list(self._runs.values())

    def _connect(self, file: Path) -> Connect:
        """How a campaign's models are reached: its recording lies beside its file."""
        from asiarc.llm.connect import connect

        option = self.config.option
        return partial(connect, option.llm, option.llm_base_url, file.with_suffix(".jsonl"))

    def say(self, line: str, *, always: bool = False) -> None:
        """A line of progress, past pytest's capture; -q wants none."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        capture = self.config.pluginmanager.getplugin("capturemanager")
        if reporter is None or (self.config.option.verbose < 0 and not always):
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


LAB = pytest.StashKey[Lab]()


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


class CampaignModule(pytest.Module):
    """A campaign file: a Python module whose declaration errors are told at their line."""

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, AsiarcError):
            frame = next((e for e in reversed(excinfo.traceback) if Path(str(e.path)) == self.path), None)
            line = self.line_of(excinfo.value, frame.lineno + 1 if frame else 1)
            return f"{self.path}:{line}: {excinfo.value}"
        return super().repr_failure(excinfo)

    def line_of(self, error: AsiarcError, start: int) -> int:
        """The line of the error's field in the call that starts at or spans line `start`; `start` where it is not."""
        calls = [node for node in ast.walk(ast.parse(self.path.read_bytes())) if isinstance(node, ast.Call)]
        around = [call for call in calls if call.lineno <= start <= (call.end_lineno or call.lineno)]
        field = getattr(error, "field", "")
        return next((k.lineno for call in around for k in call.keywords if k.arg == field), start)

    def declaration_line(self, name: str) -> int:
        """Where a campaign is assigned to its name."""
        assigned = [node for node in ast.parse(self.path.read_bytes()).body if isinstance(node, ast.Assign)]
        targets = {getattr(target, "id", ""): node.lineno for node in assigned for target in node.targets}
        return targets.get(name, 1)


class TomlCampaign(pytest.File):
    """A campaign as data."""

    def collect(self) -> list[pytest.Collector]:
        return [CampaignNode.of(self, self.path.stem.removeprefix("campaign_"), load_toml(self.path))]

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, AsiarcError):
            return f"{self.path}:{self.line_of(excinfo.value, 1)}: {excinfo.value}"
        return super().repr_failure(excinfo)

    def line_of(self, error: AsiarcError, start: int) -> int:
        """The line of the error's field in its table, else of the table, else what the parser says, else `start`."""
        field, table = getattr(error, "field", ""), getattr(error, "table", "")
        lines: dict[str, int] = {}
        current = ""
        for number, text in enumerate(self.path.read_text(errors="replace").splitlines(), 1):
            if header := re.match(r"\s*\[([^\[\]]+)\]", text):
                current = header[1].replace(" ", "")
                for name in (current, current.partition(".")[0]):
                    lines.setdefault(name, number)
            elif key := re.match(r"""\s*["']?([\w-]+)["']?\s*[.=]""", text):
                lines.setdefault(f"{current}.{key[1]}".lstrip("."), number)
        told = re.search(r"at line (\d+)", str(error))
        wanted = (f"{table}.{field}".lstrip("."), field, table)
        return next((lines[name] for name in wanted if name in lines), int(told[1]) if told else start)

    def declaration_line(self, name: str) -> int:
        """The file is the declaration."""
        return 1


def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Any:
    """A `Campaign` in a campaign file becomes its stages, a decider in a claim file a claim item."""
    if isinstance(obj, Campaign) and isinstance(collector, CampaignModule):
        return CampaignNode.of(collector, name, obj)
    mark = mark_of(obj)
    if mark is not None and isinstance(collector, ClaimModule):
        return ClaimItem.from_parent(collector, name=name, decider=obj, mark=mark)
    return None


class CampaignNode(pytest.Collector):
    """A campaign in the tree: file::name::stage."""

    campaign: Campaign
    parent: CampaignModule | TomlCampaign

    @classmethod
    def of(cls, parent: CampaignModule | TomlCampaign, name: str, campaign: Campaign) -> CampaignNode:
        node: CampaignNode = cls.from_parent(parent, name=name)
        node.campaign = campaign
        return node

    def collect(self) -> list[pytest.Item]:
        self.campaign.budget.at(self.config.option.tier)
        stages = [StageItem.from_parent(self, name=stage) for stage in self.campaign.stages]
        return [*stages, *(ArmItem.from_parent(self, name=arm) for arm in self.campaign.arms)]

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, AsiarcError):
            line = self.parent.line_of(excinfo.value, self.parent.declaration_line(self.name))
            return f"{self.path}:{line}: {self.name}: {excinfo.value}"
        return super().repr_failure(excinfo)


class PlainItem(pytest.Item):
    """An item that tells a user's error in one line; a traceback is for programmers."""

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, AsiarcError):
            return f"{self.nodeid}: {excinfo.value}"
        return super().repr_failure(excinfo)


class StageItem(PlainItem):
    """One stage of one campaign; names carry no brackets, which --lf would trip over."""

    parent: CampaignNode

    @property
    def stage(self) -> StageName:
        """The stage that this item runs; its name."""
        return cast("StageName", self.name)

    def planned(self) -> list[tuple[str, Campaign, str, StageName]]:
        """What --plan lists."""
        return [(self.nodeid, self.parent.campaign, self.parent.name, self.stage)]

    def runtest(self) -> None:
        lab = self.config.stash[LAB]
        run = lab.run(self.parent.campaign, self.parent.name, self.path)
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

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.parent.name}::{self.name}"


class ArmItem(PlainItem):
    """The same campaign searched another way: all its stages, at equal compute."""

    parent: CampaignNode

    def planned(self) -> list[tuple[str, Campaign, str, StageName]]:
        """What --plan lists: every stage of the arm."""
        arm = self.parent.campaign.as_arm(self.name)
        return [(f"{self.nodeid} {stage}", arm, self.parent.name, stage) for stage in arm.stages]

    def runtest(self) -> None:
        lab = self.config.stash[LAB]
        run = lab.run(self.parent.campaign, self.parent.name, self.path, self.name)
        lab.say(f"{self.parent.name} arm {self.name} at tier {lab.tier}, run {run.run}")
        for stage in run.campaign.stages:
            run.ensure(stage)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.parent.name}::{self.name}"


@pytest.hookimpl(tryfirst=True)  # --stepwise and its like count in the order that runs
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Claims that need no campaign first (they take seconds), then each file's stages before the tests that ask about
    them, then the claims that the campaigns decide; the order of files stays. --claims-only deselects other claims."""
    wanted = [claim for claim in config.option.claims_only.split(",") if claim]
    dropped = [
        item for item in items if wanted and isinstance(item, ClaimItem) and item.mark.claim not in wanted
    ]
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


# --- claims -----------------------------------------------------------------------------------------------------------


class ClaimModule(pytest.Module):
    """A file of deciders."""

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, AsiarcError):
            return f"{self.path}: {excinfo.value}"
        return super().repr_failure(excinfo)

    def collect(self) -> Any:
        return [item for item in super().collect() if isinstance(item, ClaimItem)]


class ClaimItem(PlainItem):
    """One decider: passes when it reaches a verdict that the snapshot knows, whichever way the verdict goes."""

    def __init__(self, *, decider: Any, mark: Mark, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decider, self.mark = decider, mark
        self.register = load_register(self.path.parent / "claims.toml")
        self.add_marker(pytest.mark.claim(mark.claim))

    @property
    def needs_campaign(self) -> bool:
        """Whether the register says that a campaign decides the claim."""
        claim = self.register.get(self.mark.claim)
        return claim is not None and claim.needs.startswith("campaign")

    def runtest(self) -> None:
        from asiarc.report.evidence import LabEvidence

        lab = self.config.stash[LAB]
        if TIERS.index(lab.tier) < TIERS.index(self.mark.tier):
            pytest.skip(f"{self.mark.claim} needs tier {self.mark.tier}")
        if self.mark.claim not in self.register:
            raise EvidenceError(
                f"claim {self.mark.claim} is not in {self.path.parent / 'claims.toml'}; add it there first"
            )
        evidence = LabEvidence(lab.archive, lab.tier, self.path.parent, self.config.option.release)
        verdict = reach_verdict(self.decider, evidence, self.register[self.mark.claim])
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
    return pytestconfig.stash[LAB].archive


@pytest.fixture(scope="session")
def tier(pytestconfig: pytest.Config) -> str:
    """The session's tier."""
    return str(pytestconfig.option.tier)


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest) -> CampaignResult:
    """What the campaign of this file found; stages that are missing in the archive are run first."""
    from asiarc.results import CampaignResult

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
    from asiarc.report.plan import plan_lines

    lab = session.config.stash[LAB]
    rows = [row for item in session.items if isinstance(item, (StageItem, ArmItem)) for row in item.planned()]
    lines = plan_lines(
        rows,
        lab.tier,
        lab.folder,
        session.config.option.workers,
    )
    for line in lines:
        lab.say(line, always=True)
    return True


def pytest_terminal_summary(
    terminalreporter: Any, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
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
        from asiarc.report.arms import arm_lines

        terminalreporter.section("arms")
        for line in arm_lines(lab.archive, [(run.name, run.campaign.arm, run.run) for run in lab.runs]):
            terminalreporter.write_line(line)
    if lab.verdicts:
        terminalreporter.section("claims")
        for verdict in sorted(lab.verdicts, key=lambda v: v.claim):
            terminalreporter.write_line(f"{verdict.claim:<5} {verdict.verdict:<28} {verdict.statement}")
