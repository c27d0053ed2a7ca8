"""What pytest collects: campaigns as stages and arms, claims as deciders; a user's error is told at its line."""
# ruff: noqa: D102  (methods of pytest's own, documented there)

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pytest

from asiarc.campaign.declaration import Campaign, load_toml
from asiarc.campaign.kernels import AnyCampaign, KernelCampaign
from asiarc.core.digest import digest
from asiarc.core.errors import AsiarcError, EvidenceError
from asiarc.core.extras import require_campaigns
from asiarc.core.recipe import TIERS, StageName, Tier
from asiarc.evidence.claims import Mark, Verdict, check_snapshot, load_register, reach_verdict, record_snapshot
from asiarc.harness.session import LAB, Lab
from asiarc.speed import NotMeasuredError

# --- campaigns --------------------------------------------------------------------------------------------------------


class DeclaringModule(pytest.Module):
    """A Python module whose declaration errors are told at their line."""

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
        """Where something is assigned to its name."""
        assigned = [node for node in ast.parse(self.path.read_bytes()).body if isinstance(node, ast.Assign)]
        targets = {getattr(target, "id", ""): node.lineno for node in assigned for target in node.targets}
        return targets.get(name, 1)


class CampaignModule(DeclaringModule):
    """A campaign file."""


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
        for number, text in enumerate(self.path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
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


class CampaignNode(pytest.Collector):
    """A campaign in the tree: file::name::stage."""

    campaign: AnyCampaign
    parent: CampaignModule | TomlCampaign

    @classmethod
    def of(cls, parent: CampaignModule | TomlCampaign, name: str, campaign: AnyCampaign) -> CampaignNode:
        node: CampaignNode = cls.from_parent(parent, name=name)
        node.campaign = campaign
        return node

    @cached_property
    def resolved(self) -> str:
        """The campaign as the tier that is run resolves it, by hash: once for all the claims that need it."""
        return digest(self.campaign.at(self.path.parent).resolved(self.config.stash[LAB].tier))

    def __repr__(self) -> str:
        """As --collect-only lists it: with its question, so that the list of campaigns is a table of contents."""
        docstring = getattr(getattr(self.parent, "obj", None), "__doc__", None) or ""
        question = " ".join(docstring.partition("\n\n")[0].split())
        return f"<Campaign {self.name}{question and ': '}{question}>"

    def collect(self) -> list[pytest.Item]:
        self.campaign.at(self.path.parent, build=False)
        is_of_kernels = isinstance(self.campaign, KernelCampaign)
        stage_item, arm_item = (KernelStageItem, KernelArmItem) if is_of_kernels else (StageItem, ArmItem)
        stages = [stage_item.from_parent(self, name=stage) for stage in self.campaign.stages]
        return [*stages, *(arm_item.from_parent(self, name=arm) for arm in self.campaign.arms)]

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

    def planned(self) -> list[tuple[str, AnyCampaign, str, StageName]]:
        """What --plan lists."""
        return [(self.nodeid, self.parent.campaign.at(self.path.parent), self.parent.name, self.stage)]

    def runtest(self) -> None:
        lab = self.config.stash[LAB]
        campaign = self.parent.campaign
        assert isinstance(campaign, Campaign), "others have items of their own"
        lab.say(f"{self.parent.name} {self.name} at tier {lab.tier}")  # first: what follows imports for seconds
        register(self.session, lab)
        run = lab.run(campaign, self.parent.name, self.path)
        lab.say(f"  run {run.run} in {lab.place}")
        result = lab.ensure(run, self.stage)
        self.user_properties += [("asiarc_run", run.run), ("tier", lab.tier), ("entrants", len(result["entrants"]))]
        if self.name == campaign.stages[-1]:
            self.user_properties += lab.answer_of(run).items()
        if self.name == "explore" and not result["finalists"]:
            raise EvidenceError(
                f"none of {result['candidates']} candidates was scored; asiarc why-rejected lists the reasons, --retry "
                "tries again those that crashed, timed out or were not answered"
            )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.parent.name}::{self.name}"


class ArmItem(PlainItem):
    """The same campaign searched another way: all its stages, at equal compute."""

    parent: CampaignNode

    def planned(self) -> list[tuple[str, AnyCampaign, str, StageName]]:
        """What --plan lists: every stage of the arm."""
        arm = self.parent.campaign.at(self.path.parent).as_arm(self.name)
        return [(f"{self.nodeid} {stage}", arm, self.parent.name, stage) for stage in arm.stages]

    def runtest(self) -> None:
        lab = self.config.stash[LAB]
        campaign = self.parent.campaign
        assert isinstance(campaign, Campaign), "others have items of their own"
        lab.say(f"{self.parent.name} arm {self.name} at tier {lab.tier}")
        register(self.session, lab)
        run = lab.run(campaign, self.parent.name, self.path, self.name)
        lab.say(f"  run {run.run} in {lab.place}")
        for stage in run.campaign.stages:
            lab.ensure(run, stage)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.parent.name}::{self.name}"


class KernelStageItem(StageItem):
    """One stage of a campaign of kernels."""

    def runtest(self) -> None:
        lab = self.config.stash[LAB]
        campaign = self.parent.campaign
        assert isinstance(campaign, KernelCampaign), "others have items of their own"
        lab.say(f"{self.parent.name} {self.name} at tier {lab.tier}")
        run = lab.kernel_run(campaign, self.parent.name)
        lab.say(f"  run {run.run} in {lab.place}")
        with _unmeasured_at_smoke(lab.tier):
            result = run.ensure(self.stage)
        self.user_properties += [("asiarc_run", run.run), ("tier", lab.tier), ("entrants", len(result["entrants"]))]
        if self.name == "explore" and not result["finalists"]:
            raise EvidenceError(
                f"none of {result['candidates']} kernels was admitted; asiarc standings {run.label} --tier {lab.tier} "
                "says which gate turned each away"
            )


class KernelArmItem(ArmItem):
    """A campaign of kernels searched by chance: all its stages, at equal compute."""

    def runtest(self) -> None:
        lab = self.config.stash[LAB]
        campaign = self.parent.campaign
        assert isinstance(campaign, KernelCampaign), "others have items of their own"
        lab.say(f"{self.parent.name} arm {self.name} at tier {lab.tier}")
        run = lab.kernel_run(campaign, self.parent.name, self.name)
        with _unmeasured_at_smoke(lab.tier):
            for stage in run.campaign.stages:
                run.ensure(stage)


@contextmanager
def _unmeasured_at_smoke(tier: Tier) -> Iterator[None]:
    """Smoke shows that all runs, and claims nothing: where a machine is too loud to time anything it says so and skips.
    At every other tier a stage without its times has failed."""
    try:
        yield
    except NotMeasuredError as error:
        if tier == "smoke":
            pytest.skip(str(error))
        raise


# --- claims -----------------------------------------------------------------------------------------------------------


def register(session: pytest.Session, lab: Lab) -> None:
    """Before anything of a session is trained or decided: fix what decides its claims, those that are not yet."""
    from asiarc.archive.registrations import Registrations

    if lab.has_registered or lab.is_dry:
        return
    lab.has_registered = True
    claims = [item for item in session.items if isinstance(item, ClaimItem) and item.mark.claim in item.register]
    parts: dict[str, dict[str, str]] = {}
    for item in claims:
        parts.setdefault(item.mark.claim, {}).update(item.parts)
    if parts:
        Registrations(lab.archive).keep(lab.tier, parts)


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

    @cached_property
    def parts(self) -> dict[str, str]:
        """What decides the claim, by hash: its entry in the register, its decider's file, the session's campaigns that
        it needs, as this tier resolves them."""
        claim = self.register[self.mark.claim]
        needed = set(re.findall(r"campaign (\w+)", claim.needs))
        asked = {item.parent.name: item.parent for item in self.session.items if isinstance(item, StageItem)}
        return {
            "its entry": digest(claim.model_dump()),
            self.path.name: digest(self.path.read_text(encoding="utf-8")),
            **{f"campaign {name}": asked[name].resolved for name in sorted(needed & asked.keys())},
        }

    @property
    def needs_campaign(self) -> bool:
        """Whether the register says that a campaign decides the claim."""
        claim = self.register.get(self.mark.claim)
        return claim is not None and claim.needs.startswith("campaign")

    def runtest(self) -> None:
        require_campaigns()
        from asiarc.archive.registrations import Registrations
        from asiarc.report.evidence import LabEvidence

        lab = self.config.stash[LAB]
        if lab.is_dry:
            pytest.skip("a dry run decides no claim")
        if TIERS.index(lab.tier) < TIERS.index(self.mark.tier):
            pytest.skip(f"{self.mark.claim} needs tier {self.mark.tier}")
        if self.mark.claim not in self.register:
            raise EvidenceError(
                f"claim {self.mark.claim} is not in {self.path.parent / 'claims.toml'}; add it there first"
            )
        register(self.session, lab)
        evidence = LabEvidence(lab.archive, lab.tier, self.path.parent, self.config.option.asiarc_release)
        verdict = reach_verdict(self.decider, evidence, self.register[self.mark.claim])
        registered = Registrations(lab.archive).told(self.mark.claim, lab.tier, self.parts)
        verdict = replace(verdict, registered=registered)
        lab.verdicts.append(verdict)
        lab.archive.add_verdict(self.mark.claim, lab.tier, self.nodeid, verdict.as_dict())
        self.user_properties += [("claim", verdict.claim), ("verdict", verdict.verdict)]
        lab.say(f"  {verdict.claim:<5} {verdict.verdict:<28} {verdict.statement}")
        self._hold_against_snapshot(verdict)
        if self.config.option.asiarc_strict_claims and verdict.verdict == "contradicted":
            raise EvidenceError(f"{verdict.claim} is contradicted: {verdict.statement}")

    def _hold_against_snapshot(self, verdict: Verdict) -> None:
        path = self.path.parent / "verdicts.toml"
        if self.config.option.asiarc_accept_verdicts is not None:
            record_snapshot([verdict], path, note=self.config.option.asiarc_accept_verdicts)
        for drift in check_snapshot([verdict], path):
            if drift.recorded is not None:  # a tier that was never recorded has nothing to drift from
                raise EvidenceError(drift.explain() + " Accept it with --accept-verdicts 'why'")

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"claim {self.mark.claim}: {self.name}"
