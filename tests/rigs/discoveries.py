"""``python -m tests.rigs discoveries``: what a search found, against every mixer of the panel.

    python -m tests.rigs discoveries train      # as often as it takes: what is done is not done again
    python -m tests.rigs discoveries table      # results/discovery: Markdown, JSON

The leading candidates of a searched campaign are trained on fresh seeds beside the panel and its controls, at one size,
with rates from one grid, on the task that decided and on prose. One of them is a discovery where it is ahead of every
mixer of the panel on the first: its p-value is that of its weakest comparison (an intersection-union test), and over
all that entered Benjamini and Hochberg keep the expected share of false ones at 5 %. What is ahead on prose, where a
mixer without memory is ahead of most, is told beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

import click

from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import QUICK, TrialRecipe
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.evidence.multiplicity import benjamini_hochberg
from asiarc.harness.archive_verbs import reading
from asiarc.models.baselines import PANEL, PANEL_NAMES
from asiarc.models.controls import MEMORY_FREE
from asiarc.report.document import EXTRACT
from asiarc.studies.study import trained
from asiarc.studies.verdicts import shown
from asiarc.tasks import get_task
from tests.rigs.discovery import FOLDER
from tests.rigs.kept import carried, put_back, write_table
from tests.rigs.panel import RATES, OfPanel, Values, alone, best, means_of

if TYPE_CHECKING:
    from asiarc.archive.store import Archive

DECIDES, BESIDE = "mixed:zipf", "text"
START = "delta_net"
TOP, SEEDS = 24, 5
FALSE = 0.05  # expected share among what is called a discovery
ENOUGH = 3  # scored seeds, for an effect


class AgainstPanel(OfPanel):
    """The leading candidates and the panel, as the campaign's last stage trains them."""

    SEEDS_FROM: ClassVar[str] = "discovery"
    RECIPE: ClassVar[TrialRecipe] = QUICK

    size: str = "micro"


def leading(archive: Archive, campaign: str, top: int) -> dict[str, str]:
    """The sources, by name, of the candidates that a finished search put first; `EvidenceError` where none is."""
    for row in archive.runs(campaign):
        if explored := archive.stage_result(row["run"], "explore"):
            rows = [archive.candidate(address) for address in explored["finalists"][:top]]
            return {row["name"]: row["source"] for row in rows if row}
    raise EvidenceError(f"no finished search of {campaign}; go on with: python -m tests.rigs discovery")


def study(finalists: Mapping[str, str]) -> AgainstPanel:
    """Everything that is trained."""
    return AgainstPanel(
        mixers=alone() | dict(finalists), tasks=(DECIDES, BESIDE), seeds=SEEDS, learning_rates=RATES
    )


@dataclass(frozen=True)
class Finalist:
    """One finalist: its mean, its weakest comparison with the panel, and whether it is a discovery."""

    name: str
    mean: float
    weakest: str  # the mixer of the panel over which its gain has the largest p-value, or is no gain
    effect: Effect
    over_start: Effect
    prose: Effect  # its gain over the start on prose
    prose_over_control: Effect  # and over the memory-free control there
    adjusted: float = 1.0

    @property
    def p_value(self) -> float:
        """Of "it is not ahead of its weakest": one-sided."""
        return one_sided(self.effect)

    @property
    def is_discovery(self) -> bool:
        """Ahead of every mixer of the panel, at `FALSE` over all that entered."""
        return self.adjusted <= FALSE


def gain(values: Values, ahead: str, behind: str, task: str) -> Effect:
    """The paired gain of one over another."""
    return paired_effect(values[ahead], values[behind], higher_is_better=get_task(task).higher_is_better)


def one_sided(effect: Effect) -> float:
    """The p-value of "it is not ahead"."""
    return effect.p_value / 2 if effect.mean > 0 else 1 - effect.p_value / 2


def weakest(values: Values, name: str, among: Sequence[str]) -> tuple[str, Effect]:
    """The comparison that carries an intersection-union test."""
    effects = {other: gain(values, name, other, DECIDES) for other in among}
    found = max(effects, key=lambda other: (one_sided(effects[other]), -effects[other].mean))
    return found, effects[found]


def without_scores(values: Mapping[str, Values], names: Sequence[str]) -> list[str]:
    """Those with too few scored seeds on a task for an effect."""
    return [name for name in names if any(len(values[task][name]) < ENOUGH for task in (DECIDES, BESIDE))]


def judged(values: Mapping[str, Values], finalists: Sequence[str]) -> list[Finalist]:
    """Every finalist that was scored, the best first; `values` are by task, mixer and seed.

    One that was not has entered all the same: it counts among the comparisons, as one with nothing to show.
    """
    decides, beside = values[DECIDES], values[BESIDE]
    unscored = without_scores(values, finalists)
    rivals = [name for name in PANEL_NAMES if name not in without_scores(values, PANEL_NAMES)]
    found = []
    for name in (name for name in finalists if name not in unscored):
        other, effect = weakest(decides, name, rivals)
        found.append(
            Finalist(
                name, fmean(decides[name].values()), other, effect, gain(decides, name, START, DECIDES),
                gain(beside, name, START, BESIDE), gain(beside, name, MEMORY_FREE, BESIDE),
            )
        )  # fmt: skip
    adjusted = benjamini_hochberg({one.name: one.p_value for one in found} | dict.fromkeys(unscored, 1.0))
    return sorted((replace(one, adjusted=adjusted[one.name]) for one in found), key=lambda one: one.mean)


def markdown(found: Sequence[Finalist], values: Mapping[str, Values], finalists: Sequence[str]) -> str:
    """The gallery (which may be empty), every finalist, and the panel beside them."""
    left = ", ".join(without_scores(values, [*finalists, *PANEL_NAMES]))
    discoveries = [one for one in found if one.is_discovery]
    means, on_prose = (means_of({n: v for n, v in values[task].items() if v}) for task in (DECIDES, BESIDE))
    leader = best(means, [name for name in PANEL_NAMES if name in means], higher_is_better=False)
    lines = [
        f"# Discoveries on {DECIDES}, {PANEL}", "",
        f"{len(discoveries)} of {len(finalists)} finalists are ahead of every mixer of the panel ({SEEDS} fresh seeds, "
        f"the weakest comparison of each, false discovery rate {FALSE:.0%} over all that entered). The panel's best is "
        f"{leader} at {means[leader]:.4f} bits a byte that is asked for: no gain over it can be larger than that.",
        *(["", f"Without scores on {ENOUGH} seeds, and so compared with nothing: {left}."] if left else []),
        "",
        "| finalist | bits | weakest over | gain there | p (BH) | over the start | prose: over the start | "
        "prose: over the memory-free control | |", "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in found:
        told = (one.effect, one.over_start, one.prose, one.prose_over_control)
        weak, start, prose, control = map(shown, told)
        verdict = "discovery" if one.is_discovery else ""
        lines.append(
            f"| {one.name} | {one.mean:.4f} | {one.weakest} | {weak} | {one.adjusted:.3g} | {start} | {prose} | "
            f"{control} | {verdict} |"
        )
    lines += ["", "| mixer of the panel, and controls | bits | on prose |", "|---|---|---|"]
    others = sorted((name for name in alone() if name in means), key=means.__getitem__)
    prose = {name: f"{mean:.4f}" for name, mean in on_prose.items()}
    lines += [f"| {name} | {means[name]:.4f} | {prose.get(name, '–')} |" for name in others]
    return "\n".join([*lines, ""])


STORE = click.option("--store", type=click.Path(path_type=Path), default=Path(".asiarc/discoveries"), show_default=True)
CAMPAIGN = click.option("--campaign", default="asi_arch", show_default=True)
SEARCHED = click.option(
    "--searched", type=click.Path(exists=True, path_type=Path), help="a store with the search; else the carried one"
)
TAKEN = click.option("--top", type=click.IntRange(min=1), default=TOP, show_default=True)


def searched_in(campaign: str, searched: Path | None, store: Path) -> Path:
    """The store with the search: the one that is named, or the carried one, put back."""
    if searched is None:
        searched = store / "searched"
        put_back(FOLDER / f"{campaign}-full.jsonl.gz", searched)
    return searched


def asked(campaign: str, top: int, searched: Path | None, store: Path) -> AgainstPanel:
    """The study of a campaign's leading candidates."""
    with reading(searched_in(campaign, searched, store)) as archive:
        return study(leading(archive, campaign, top))


@click.group()
def main() -> None:
    """What a search found, against every mixer of the panel."""


@main.command()
@CAMPAIGN
@TAKEN
@SEARCHED
@STORE
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
def train(campaign: str, top: int, searched: Path | None, store: Path, workers: int) -> None:
    """Train the finalists and the panel, or go on with it."""
    wanted = asked(campaign, top, searched, store)
    with carried(store, FOLDER / campaign / EXTRACT):
        found = trained(wanted, f"discoveries_{campaign}", "full", store, workers, click.echo)
    click.echo(f"{len(found.trials)} trials, {found.cpu_s:,.0f} CPU-seconds")


@main.command()
@CAMPAIGN
@TAKEN
@SEARCHED
@STORE
def table(campaign: str, top: int, searched: Path | None, store: Path) -> None:
    """Write what was found."""
    wanted = asked(campaign, top, searched, store)
    put_back(FOLDER / campaign / EXTRACT, store)
    with reading(store) as archive:
        result = wanted.result(archive, "full", f"discoveries_{campaign}")
    values = {task: {name: result.values(name, task) for name in wanted.mixers} for task in wanted.tasks}
    finalists = [name for name in wanted.mixers if name not in alone()]
    found = judged(values, finalists)
    text = markdown(found, values, finalists)
    told = [asdict(one) | {"is_discovery": one.is_discovery} for one in found]
    record = {"panel": PANEL, "entered": len(finalists), "values": values, "finalists": told}
    record["sources"] = {name: wanted.mixers[name] for name in finalists}
    write_table(FOLDER / campaign, "table", text, record)
    click.echo(text)
