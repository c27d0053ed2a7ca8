"""The panel on the task that decides: every mixer alone and in a hybrid, and what hybrids are said to be.

    python -m tests.rigs panel train      # as often as it takes: what is done is not done again
    python -m tests.rigs panel table      # results/panel: Markdown, JSON

Every mixer of the panel, the controls and the hybrids (three blocks of a mixer, one of softmax attention) have one
size, one budget and rates tuned from one grid. Comparisons are paired by seed; p-values are Holm's over all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

import click

from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import QUICK, Tier, TrialRecipe
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.evidence.multiplicity import holm
from asiarc.harness.archive_verbs import reading
from asiarc.models.baselines import PANEL, PANEL_NAMES
from asiarc.models.controls import CONTROL_NAMES, MEMORY_FREE
from asiarc.studies.study import trained
from asiarc.studies.verdicts import shown
from asiarc.tasks import get_task
from tests.rigs import ROOT
from tests.rigs.kept import TRIALS, carried, put_back, write_table
from tests.rigs.scaling import ATTENTION, Rung, mixed

if TYPE_CHECKING:
    from asiarc.studies.study import StudyResult

SIZE = "200k"
RECIPE = QUICK.at(name=SIZE, num_layers=4, steps=320)
"""Four blocks, so that one in four can be attention; twice the steps that two blocks have, since depth learns to recall
later: after 160 most mixers have not begun."""
RATES = (4e-3, 8e-3, 16e-3)
SEEDS = 5
TASK = "mixed:zipf"
HYBRIDS = ("linear_attention", "gla", "mamba2", "delta_net", "gated_delta_net", "kda", "gated_delta_net_2", "mlstm")
PUBLISHED = ("gated_delta_net 3:1", "gated_delta_net", ATTENTION, "mamba2 3:1", "mamba2")  # arXiv 2604.03444
FOLDER = ROOT / "results" / "panel"
ALPHA = 0.05
Values = Mapping[str, Mapping[str, float]]  # by mixer, by seed


class OfPanel(Rung):
    """Mixers on the task that decides in a campaign; rates are tuned at the whole budget."""

    TUNED_ON: ClassVar[int] = 1
    RECIPE: ClassVar[TrialRecipe] = QUICK

    def text(self, tier: Tier) -> TrialRecipe:
        """What decides there."""
        return self.RECIPE


class Stacked(OfPanel):
    """The panel's mixers in blocks enough for hybrids; the recipe is a part of what was asked."""

    size: str = SIZE
    stack: TrialRecipe = RECIPE

    def text(self, tier: Tier) -> TrialRecipe:
        """The stack's."""
        return self.stack


def alone() -> dict[str, str]:
    """Every mixer of the panel and every control, its source by name."""
    from asiarc.models.baselines import baseline_source

    return {name: baseline_source(name) for name in (*PANEL_NAMES, *CONTROL_NAMES)}


def study(task: str) -> Stacked:
    """Everything that is trained on a task."""
    return Stacked(mixers=alone() | dict(map(mixed, HYBRIDS)), tasks=(task,), seeds=SEEDS, learning_rates=RATES)


@dataclass(frozen=True)
class Compared:
    """One comparison of the family: the first over the second."""

    about: str  # memory, hybrid, attention or published
    first: str
    second: str
    effect: Effect
    adjusted: float = 1.0

    @property
    def says(self) -> str:
        """Which is ahead, at `ALPHA` after Holm's correction."""
        if self.adjusted > ALPHA:
            return "not told apart"
        return f"{self.first if self.effect.mean > 0 else self.second} is ahead"


def means_of(values: Values) -> dict[str, float]:
    """The mean over seeds by mixer."""
    return {name: fmean(some.values()) for name, some in values.items()}


def best(means: Mapping[str, float], names: Sequence[str], *, higher_is_better: bool) -> str:
    """The name with the best mean."""
    return (max if higher_is_better else min)(names, key=means.__getitem__)


def compared(values: Values, *, higher_is_better: bool) -> list[Compared]:
    """The whole family, corrected together: every mixer over the memory-free control; every hybrid over its mixer; the
    hybrid of the best mixer over every other hybrid; and the neighbours of the published order."""
    means = means_of(values)
    hybrids = {mixed(name)[0]: name for name in HYBRIDS}
    asked = [("memory", name, MEMORY_FREE) for name in PANEL_NAMES]
    asked += [("attention", hybrid, alone) for hybrid, alone in hybrids.items()]
    leader = mixed(best(means, HYBRIDS, higher_is_better=higher_is_better))[0]
    asked += [("hybrid", leader, other) for other in hybrids if other != leader]
    asked += [("published", *pair) for pair in itertools.pairwise(PUBLISHED)]
    found = [
        Compared(about, a, b, paired_effect(values[a], values[b], higher_is_better=higher_is_better))
        for about, a, b in asked
    ]
    adjusted = holm(dict(enumerate(one.effect.p_value for one in found)))
    return [replace(one, adjusted=adjusted[index]) for index, one in enumerate(found)]


def verdicts(family: Sequence[Compared], values: Values, *, higher_is_better: bool) -> list[str]:
    """What the family says of the three sentences about hybrids."""
    means = means_of(values)
    alone = best(means, HYBRIDS, higher_is_better=higher_is_better)
    inside = best(means, [mixed(name)[0] for name in HYBRIDS], higher_is_better=higher_is_better)
    hybrid = [one for one in family if one.about == "hybrid"]
    beaten = [one.second for one in hybrid if one.says == f"{one.second} is ahead"]
    told = "the best alone is behind " + ", ".join(beaten) if beaten else (
        "the best alone has the best hybrid" if inside == mixed(alone)[0] else
        f"another hybrid has the better mean ({inside}), but is not told apart"
    )  # fmt: skip
    attention = [one for one in family if one.about == "attention"]
    gains = [one for one in attention if one.says == f"{one.first} is ahead"]
    losses = [one for one in attention if one.says == f"{one.second} is ahead"]
    published = [one for one in family if one.about == "published"]
    agree = sum(one.says == f"{one.first} is ahead" for one in published)
    differ = sum(one.says == f"{one.second} is ahead" for one in published)
    return [
        f"Of the {len(HYBRIDS)} mixers with a hybrid, is the best alone ({alone}) the best in 3:1? {told}.",
        f"Does one attention layer in four help? In {len(gains)} of {len(attention)} mixers by an interval, "
        f"against it in {len(losses)}.",
        f"The published order {' > '.join(PUBLISHED)}: {agree} of {len(published)} neighbours as published, {differ} "
        "the other way, the rest not told apart.",
    ]


def markdown(task: str, values: Values, family: Sequence[Compared], told: Sequence[str]) -> str:
    """The tables, best first."""
    high = get_task(task).higher_is_better
    means = means_of(values)
    over = {one.first: one for one in family if one.about == "memory"}
    lines = [f"# {PANEL} on {task}, {SIZE} parameters", "", "| mixer | mean | n | over the memory-free control | p |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name in sorted(means, key=means.__getitem__, reverse=high):
        one = over.get(name)
        gain = f"{shown(one.effect)} | {one.adjusted:.3g}" if one else "– | –"
        lines.append(f"| {name} | {means[name]:.4f} | {len(values[name])} | {gain} |")
    lines += ["", *(f"- {line}" for line in told), "", "| | gain | p (Holm) | says |", "|---|---|---|---|"]
    lines += [
        f"| {one.first} over {one.second} | {shown(one.effect)} | {one.adjusted:.3g} | {one.says} |"
        for one in family
        if one.about != "memory"
    ]
    return "\n".join([*lines, ""])


def values_of(result: StudyResult, task: str) -> dict[str, dict[str, float]]:
    """Scores by mixer and seed; `EvidenceError` where a mixer has fewer than three."""
    values = {name: dict(result.values(name, task)) for name in result.study.mixers}
    if few := sorted(name for name, some in values.items() if len(some) < 3):
        raise EvidenceError(f"fewer than three scored seeds of {', '.join(few)}: {'; '.join(result.unscored())}")
    return values


def write(folder: Path, task: str, values: Values) -> str:
    """``TASK.md`` and ``TASK.json`` in a folder; the Markdown."""
    high = get_task(task).higher_is_better
    family = compared(values, higher_is_better=high)
    told = verdicts(family, values, higher_is_better=high)
    text = markdown(task, values, family, told)
    record = {"panel": PANEL, "task": task, "values": values, "verdicts": told}
    record["family"] = [asdict(one) | {"says": one.says} for one in family]
    write_table(folder, task.replace(":", "-"), text, record)
    return text


TASKS = click.option("--task", "tasks", multiple=True, default=(TASK,), show_default=True)
KEPT = click.option("--store", type=click.Path(path_type=Path), default=Path(".asiarc/panel"), show_default=True)


@click.group()
def main() -> None:
    """The panel of mixers and its hybrids on the task that decides."""


@main.command()
@TASKS
@KEPT
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
def train(tasks: tuple[str, ...], store: Path, workers: int) -> None:
    """Train the panel, or go on with it."""
    for task in tasks:
        with carried(store, FOLDER / TRIALS):
            found = trained(study(task), f"panel_{task}", "full", store, workers, click.echo)
        click.echo(f"{task}: {len(found.trials)} trials, {found.cpu_s:,.0f} CPU-seconds")


@main.command()
@TASKS
@KEPT
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def table(tasks: tuple[str, ...], output: Path, store: Path) -> None:
    """Write what the panel measured."""
    put_back(FOLDER / TRIALS, store)
    with reading(store) as archive:
        for task in tasks:
            click.echo(write(output, task, values_of(study(task).result(archive, "full", f"panel_{task}"), task)))
