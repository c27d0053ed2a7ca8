"""What a pytest session shares: one archive, one executor, and each campaign's run, all opened when first needed."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asiarc.campaign.declaration import Campaign
from asiarc.campaign.kernels import KernelCampaign
from asiarc.core.errors import AsiarcError
from asiarc.core.extras import require_campaigns
from asiarc.core.recipe import StageName, Tier
from asiarc.evidence.claims import Verdict
from asiarc.harness import live
from asiarc.harness.options import folded, require_device

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.loop.agents import Connect
    from asiarc.loop.kernels import KernelRun
    from asiarc.loop.run import Run


class Lab:
    """What a session shares: one archive, one executor, both opened when first needed."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.tier: Tier = config.option.asiarc_tier
        self.is_dry: bool = config.option.asiarc_dry_run
        self._scratch = tempfile.TemporaryDirectory(prefix="asiarc-dry-") if self.is_dry else None
        named = self._scratch.name if self._scratch else config.option.asiarc_store
        self.folder = Path(named or config.rootpath / ".asiarc")
        self.verdicts: list[Verdict] = []
        self.told: list[tuple[str, list[str]]] = []  # what workers of pytest-xdist said at their end
        self.has_registered = False  # whether what decides its claims is fixed
        self.is_elsewhere = False  # whether campaigns run in a worker of pytest-xdist
        self._archive: Archive | None = None
        self._executor: Any = None
        self._runs: dict[tuple[int, str], Run] = {}
        self._kernel_runs: dict[tuple[int, str], KernelRun] = {}
        self._table: live.LiveTable | None = None

    @property
    def archive(self) -> Archive:
        """The archive; with --fresh the earlier one is set aside first."""
        from asiarc.archive.store import Archive, set_aside

        if self._archive is None:
            if self.config.option.asiarc_fresh and (self.folder / "archive.db").exists():
                self.say(f"the earlier archive is kept in {set_aside(self.folder)}")
            self._archive = Archive(self.folder)
        return self._archive

    @property
    def place(self) -> Path:
        """The archive's folder as a person names it from the root of the project."""
        inside = self.folder.absolute().is_relative_to(self.config.rootpath)
        return self.folder.absolute().relative_to(self.config.rootpath) if inside else self.folder

    @property
    def has_run(self) -> bool:
        """Whether the archive was opened to run something."""
        return self._archive is not None

    @property
    def executor(self) -> Any:
        """The pool of warm workers; `ExecutionError` where the tier wants a GPU and there is none."""
        from asiarc.engineer.workshop import trial_executor

        if self._executor is None:
            if not self.is_dry:
                require_device(self.tier)
            option = self.config.option
            where = f"ray:{option.asiarc_ray_address}" if option.asiarc_ray_address else option.asiarc_executor
            self._executor = trial_executor(option.asiarc_workers, where, option.asiarc_gpus_per_job)
        return self._executor

    def run(self, campaign: Campaign, name: str, file: Path, arm: str = "") -> Run:
        """One campaign's run (or one of its arms) at the tier asked for; its minutes count from the first call."""
        require_campaigns()
        from asiarc.engineer.sealed import workshop_of
        from asiarc.loop.run import Run

        key = id(campaign), arm  # two files may use one name
        if key not in self._runs:
            asked = campaign.with_models(self.config.option.asiarc_llm_model).at(file.parent)
            asked = asked.as_arm(arm) if arm else asked
            asked = asked.as_dry(self.tier) if self.is_dry else asked
            deadline = time.monotonic() + 60 * asked.budget.at(self.tier).minutes
            workshop = workshop_of(self.archive, self.executor, deadline=deadline)
            self._runs[key] = Run(
                asked, name, self.tier, self.archive, workshop, self.say, self.detail, self._connect(file), self.beat
            )
            if self.config.option.asiarc_retry:
                self._retry(self._runs[key])
        return self._runs[key]

    def kernel_run(self, campaign: KernelCampaign, name: str, arm: str = "") -> KernelRun:
        """The same of a campaign of kernels. No worker is started for it, so that nothing runs beside what is timed."""
        require_campaigns()
        from asiarc.loop.kernels import KernelRun

        key = id(campaign), arm
        if key not in self._kernel_runs:
            asked = campaign.as_arm(arm) if arm else campaign
            asked = asked.as_dry(self.tier) if self.is_dry else asked
            deadline = time.monotonic() + 60 * asked.budget.at(self.tier).minutes
            self._kernel_runs[key] = KernelRun(asked, name, self.tier, self.archive, self.say, deadline=deadline)
        return self._kernel_runs[key]

    def _retry(self, run: Run) -> None:
        from asiarc.archive.retry import forget_failures

        dropped = forget_failures(self.archive, run.run)
        self.say(f"{run.label}: {dropped or 'retry: nothing failed'}", always=True)

    @property
    def runs(self) -> list[Run]:
        """What ran so far."""
        return list(self._runs.values())

    def _connect(self, file: Path) -> Connect:
        """How a campaign's models are reached: its recording lies beside its file."""
        from asiarc.loop.connect import connect

        option = self.config.option
        return partial(connect, option.asiarc_llm, option.asiarc_llm_base_url, file.with_suffix(".jsonl"), self.say)

    def answer_of(self, run: Run) -> dict[str, Any]:
        """What a finished run found, as single values."""
        from asiarc.archive.results import CampaignResult
        from asiarc.report.answer import facts_of, properties

        return properties(facts_of(CampaignResult.load(self.archive, run.run)))

    def answers(self) -> list[str]:
        """One line for each campaign that ran: what it found, and where its report is."""
        timed = [*self._kernel_runs.values()]
        if self.is_dry:
            ran: list[Run | KernelRun] = [*self.runs, *timed]
            return [f"dry run at tier {self.tier}: {self._passed(run)}; no number is kept" for run in ran]
        told = [f"{run.label} at {run.tier}: {run.outcome().explain()}" for run in timed]
        runs = [run.run for run in self.runs if not run.campaign.arm]
        if not runs:
            return told
        from asiarc.archive.results import CampaignResult
        from asiarc.report.answer import answer_line, facts_of

        where = self._report()
        found = [answer_line(facts_of(CampaignResult.load(self.archive, run))) for run in runs]
        return [*(f"{line}; report: {where}" for line in found), *told]

    def _passed(self, run: Run | KernelRun) -> str:
        """Which stages of a run are through."""
        passed = [stage for stage in run.campaign.stages if self.archive.stage_result(run.run, stage)]
        return f"{run.label} passed {', '.join(passed) or 'no stage'} of {', '.join(run.campaign.stages)}"

    def _report(self) -> str:
        """The path of the report of the tier that ran, written anew where it would say something new."""
        from asiarc.report import write

        folder = self.folder / "reproduction" / self.tier
        page = folder / "report.html"
        if self.config.option.asiarc_no_report:
            return f"asiarc report --tier {self.tier} --store {self.folder}"
        if self.archive.has_news or not page.exists():
            try:
                write(self.archive, self.tier, folder)
            except AsiarcError as error:
                return f"none, {error}"
        return str(page)

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where there is none."""
        reporter: Any = self.config.pluginmanager.getplugin("terminalreporter")
        return int(reporter._tw.fullwidth) if reporter is not None and reporter.isatty else None

    def ensure(self, run: Run, stage: StageName) -> dict[str, Any]:
        """A stage's result; while it runs, a person at a terminal sees how far it is."""
        finished = self.archive.stage_result(run.run, stage)
        if finished:
            return finished
        with self._shown(run):
            return run.ensure(stage)

    @contextmanager
    def _shown(self, run: Run) -> Iterator[None]:
        """The live table, where there is a terminal for it; gone again when anybody else may write."""
        if self._table or not live.suits(self.config):
            yield
            return
        from asiarc.studies.frame import look

        option, reporter = self.config.option, self.config.pluginmanager.getplugin("terminalreporter")
        with self._uncaptured():
            reporter.ensure_newline()
            reporter.flush()
            screen = os.fdopen(os.dup(reporter._tw._file.fileno()), "w", encoding="utf-8", errors="replace")
        console = live.console_on(screen, colour=reporter.hasmarkup)
        read = partial(look, self.archive, run.run, option.asiarc_workers, run.campaign)
        with screen, live.LiveTable(console, read, redirect=option.capture == "no") as self._table:
            try:
                yield
            finally:
                self._table = None

    def _uncaptured(self) -> Any:
        capture = self.config.pluginmanager.getplugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else nullcontext()

    def say(self, line: str, *, always: bool = False) -> None:
        """A line of progress, past pytest's capture; -q wants none. On a terminal it breaks between words."""
        reporter: Any = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or (self.config.option.verbose < 0 and not always):
            return
        if self._table:
            self._table.say(line)
            return
        with self._uncaptured():
            reporter.ensure_newline()
            for part in folded(line, self.width) if self.width else [line]:
                reporter.write_line(part)

    def detail(self, line: str) -> None:
        """A line that only -v shows; with or without it the live table moves on."""
        if self.config.option.verbose > 0:
            self.say(line)
        elif self._table:
            self._table.refresh()

    def beat(self, line: str) -> None:
        """A line that says that all goes on, where no table does."""
        if not self._table:
            self.say(line)

    def close(self) -> None:
        """End the workers and give the archive back."""
        if self._executor is not None:
            self._executor.close()
        if self._archive is not None:
            self._archive.close()
        if self._scratch is not None:
            self._scratch.cleanup()


LAB = pytest.StashKey[Lab]()
