"""Studies and searches of ``claim_*.py`` files as pytest items.

``claim_headlines.py::headlines`` trains, the deciders below it read. A study runs from its own tier upwards, after
the campaigns and before the claims that need it: the register's ``needs = "study NAME"`` says which. With
--claims-only, only the studies that those claims need; with --plan, what each costs.
"""

from __future__ import annotations

import re

import pytest

from asiarc.core.recipe import TIERS
from asiarc.harness.items import ClaimItem, ClaimModule, PlainItem
from asiarc.harness.session import LAB
from asiarc.studies import Search, Study


class StudyModule(ClaimModule):
    """A file of deciders and of what they need trained."""

    def collect(self):
        return [item for item in pytest.Module.collect(self) if isinstance(item, (ClaimItem, StudyItem))]


class StudyItem(PlainItem):
    """One study or search: passes when all of its trials are in the archive, however they ended."""

    def __init__(self, *, study: Study | Search, **kwargs) -> None:
        super().__init__(**kwargs)
        self.study = study

    @property
    def is_due(self) -> bool:
        return TIERS.index(self.config.option.asiarc_tier) >= TIERS.index(self.study.tier)

    def runtest(self) -> None:
        from asiarc.engineer.workshop import Workshop

        if not self.is_due:
            pytest.skip(f"{self.name} is trained from the {self.study.tier} tier upwards")
        lab = self.config.stash[LAB]
        if self.config.option.asiarc_retry:
            dropped = self.study.retry(self.name, lab.tier, lab.archive)
            lab.say(f"study {self.name}: {dropped or 'retry: nothing failed'}", always=True)
        workshop = Workshop(lab.archive, lab.executor)
        result = self.study.run(self.name, lab.tier, lab.archive, workshop, lab.say)
        self.user_properties += [("asiarc_run", result.run), ("tier", lab.tier)]

    def reportinfo(self):
        return self.path, 0, f"study {self.name}"


# The plugin's own hooks are registered after this file where the folder is named on the command line: ours go first.
@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path, parent):
    return StudyModule.from_parent(parent, path=module_path) if module_path.match("claim_*.py") else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector, name, obj):
    if isinstance(obj, (Study, Search)) and isinstance(collector, StudyModule):
        return StudyItem.from_parent(collector, name=name, study=obj)
    return None


def needed(item: ClaimItem) -> set[str]:
    """The studies that a claim's entry in the register says it needs."""
    claim = item.register.get(item.mark.claim)
    return set(re.findall(r"study (\w+)", claim.needs)) if claim else set()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items) -> None:
    """Claims that need a study come after all studies; --claims-only keeps the studies that its claims need."""
    if config.option.asiarc_claims_only:
        wanted = {name for item in items if isinstance(item, ClaimItem) for name in needed(item)}
        dropped = [item for item in items if isinstance(item, StudyItem) and item.name not in wanted]
        if dropped:
            config.hook.pytest_deselected(items=dropped)
            items[:] = [item for item in items if item not in dropped]
    items.sort(key=lambda item: isinstance(item, ClaimItem) and bool(needed(item)))


def pytest_collection_finish(session) -> None:
    """With --plan, a line for each study that the tier runs."""
    option = session.config.option
    if not option.asiarc_plan:
        return
    from asiarc.archive.store import Archive
    from asiarc.studies.plan import hours_of, measured_rate, tokens_of

    lab = session.config.stash[LAB]
    archive = Archive(lab.folder, write=False) if (lab.folder / "archive.db").exists() else None
    rate, total_h, unit = measured_rate(archive), 0.0, ""
    for item in session.items:
        if isinstance(item, StudyItem) and item.is_due:
            trials = item.study.trials(option.asiarc_tier)
            count, mtokens = sum(number for number, _ in trials), tokens_of(trials) / 1e6
            hours, unit = hours_of(trials, option.asiarc_tier, rate)
            total_h += hours
            lab.say(f"  {item.nodeid:<60} {count:>5} trials {mtokens:>8.1f} Mtokens {hours:>6.2f} {unit}",
                    always=True)  # fmt: skip
    if total_h:
        lab.say(f"  studies at tier {option.asiarc_tier}: about {total_h:.1f} {unit}", always=True)
    if archive:
        archive.close()
