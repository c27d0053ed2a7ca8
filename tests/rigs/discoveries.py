"""``python -m tests.rigs discoveries``: what a search found, against every mixer of the panel.

    python -m tests.rigs discoveries train      # as often as it takes: what is done is not done again
    python -m tests.rigs discoveries table      # results/discovery: Markdown, JSON

A first look: the leading candidates of a searched campaign are trained on fresh seeds beside the panel and its
controls, at one size, with rates from one grid, on the task that decided and on prose. The best of them go on to a
second look on seeds that nobody has seen, beside the panel with the same rates, and that one alone decides: one of them
is a discovery where it is ahead of every mixer of the panel: its p-value is that of its weakest comparison (an
intersection-union test), and over all that entered the second look Benjamini and Hochberg keep the expected share of
false ones at 5 %. What is ahead on prose, where a mixer without memory is ahead of most, is told beside it.

Comparisons are Welch's, not paired by seed: the panel's best has many times the spread of a finalist, so that pairing
takes nothing away, and more seeds of that one mixer are what tells them apart. It has as many as its noise asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any, ClassVar

import click

from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import Tier, TrialRecipe
from asiarc.evidence.effects import Effect
from asiarc.evidence.multiplicity import benjamini_hochberg
from asiarc.evidence.validity import memory_share
from asiarc.harness.archive_verbs import reading
from asiarc.models.baselines import PANEL, PANEL_NAMES
from asiarc.models.controls import CONTROL_NAMES, MEMORY_FREE
from asiarc.report.document import EXTRACT
from asiarc.report.memory import parts_of, uninformed_on
from asiarc.studies.study import trained
from asiarc.studies.verdicts import shown
from tests.rigs.discovery import FOLDER
from tests.rigs.kept import carried, put_back, write_table
from tests.rigs.panel import RATES, OfPanel, Values, alone, best, means_of

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Request
    from asiarc.studies.study import StudyResult

DECIDES, BESIDE = "mixed:zipf", "text"
START = "delta_net"
TOP, SEEDS = 24, 5
ENTER, SEEDS_AGAIN = 14, 8  # of the second look
SEEDS_OF_START = 24  # the panel's best by the first look: at its spread there, 0.34, they tell 0.25 nine times in ten
FALSE = 0.05  # expected share among what is called a discovery
ENOUGH = 3  # scored seeds, for an effect


class AgainstPanel(OfPanel):
    """The leading candidates and the panel, as the campaign's last stage trains them."""

    SEEDS_FROM: ClassVar[str] = "discovery"

    size: str = "micro"


class SecondLook(AgainstPanel):
    """The best of the first look and the panel again, on the task that decides, each at the rate that it had there."""

    SEEDS_FROM: ClassVar[str] = "discovery again"

    rates: dict[str, float]

    def seeds_of(self, mixer: str) -> int:
        """Seeds of one mixer."""
        return SEEDS_OF_START if mixer == START else self.seeds

    def trials(self, tier: Tier) -> list[tuple[int, TrialRecipe]]:
        """How many of which kind it takes."""
        return [(sum(map(self.seeds_of, self.mixers)), self.recipe(DECIDES, tier))]

    def _tune(self, *_: Any) -> dict[str, float]:
        return self.rates

    def requests(
        self, entrants: Sequence[str], rates: dict[str, float], tier: Tier
    ) -> dict[tuple[str, str, str], Request]:
        """Every trial, by mixer, task and seed."""
        return {
            (name, DECIDES, seed): self.request(name, DECIDES, seed, tier, rate=rates[name])
            for name in entrants for seed in map(str, range(self.seeds_of(name)))
        }  # fmt: skip


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


def second(first: StudyResult) -> SecondLook:
    """The study of the second look: the panel, and those that had the best means in the first."""
    means = {name: values for name in first.study.mixers if len(values := first.values(name, DECIDES)) >= ENOUGH}
    finalists = sorted((n for n in means if n not in alone()), key=lambda name: fmean(means[name].values()))
    names = [name for name in PANEL_NAMES if name in means] + finalists[:ENTER]
    return SecondLook(
        mixers={name: first.study.mixers[name] for name in names}, tasks=(DECIDES,), seeds=SEEDS_AGAIN,
        rates={name: first.rates[name] for name in names},
    )  # fmt: skip


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


def gain(values: Values, ahead: str, behind: str) -> Effect:
    """The gain of one over another in bits, by Welch's t: neither pairs nor a common spread are asked for; `n` is of
    the one with fewer seeds."""
    from scipy.stats import ttest_ind

    mine, theirs = ([*values[name].values()] for name in (ahead, behind))
    found = ttest_ind(theirs, mine, equal_var=False)
    low, high = found.confidence_interval(0.95)
    sd = sqrt(variance(mine) + variance(theirs))
    p_value, mean = float(found.pvalue), fmean(theirs) - fmean(mine)
    return Effect(mean, float(low), float(high), min(len(mine), len(theirs)), sd, p_value, "Welch's t")


def one_sided(effect: Effect) -> float:
    """The p-value of "it is not ahead"."""
    return effect.p_value / 2 if effect.mean > 0 else 1 - effect.p_value / 2


def weakest(values: Values, name: str, among: Sequence[str]) -> tuple[str, Effect]:
    """The comparison that carries an intersection-union test."""
    effects = {other: gain(values, name, other) for other in among}
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
                name, fmean(decides[name].values()), other, effect, gain(decides, name, START),
                gain(beside, name, START), gain(beside, name, MEMORY_FREE),
            )
        )  # fmt: skip
    adjusted = benjamini_hochberg({one.name: one.p_value for one in found} | dict.fromkeys(unscored, 1.0))
    return sorted((replace(one, adjusted=adjusted[one.name]) for one in found), key=lambda one: one.mean)


@dataclass(frozen=True)
class Read:
    """What is memory of what the finalists read: memory's share of it on the task that decides, by finalist, and on
    prose the bits a token of each mixer by what stood before (`report.memory.parts_of`). Empty where the referee
    of the trials measured neither."""

    shares: Mapping[str, float]
    parts: Mapping[str, Mapping[str, float]]

    def on_prose(self, name: str) -> str:
        """A finalist's gain over the start where a token recurs, and where it is new, in bits a token."""
        mine, start = self.parts[name], self.parts[START]
        if not mine or not start:
            return "–"
        gains = (start[part] - mine[part] for part in ("recurring", "new"))
        return " / ".join(f"{gain:+.3f}" for gain in gains)


def read(first: StudyResult, finalists: Sequence[str]) -> Read:
    """From the first look's trials, which the controls have part in."""
    by_name = {
        name: [trial for trial in first.trials if trial.address == address]
        for name, address in first.study.addresses.items()
    }
    means = {name: fmean(values) for name in by_name if (values := [*first.values(name, DECIDES).values()])}
    control = min(means[name] for name in CONTROL_NAMES)
    uninformed = uninformed_on(DECIDES, (t for t in by_name[MEMORY_FREE] if t.task == DECIDES))
    shares = {} if uninformed is None else {
        name: min(1.0, memory_share(means[name], control, uninformed)) for name in finalists
    }  # fmt: skip
    parts = {name: parts_of(t for t in by_name[name] if t.task == BESIDE) for name in (START, *finalists)}
    return Read(shares, parts)


def markdown(
    found: Sequence[Finalist], values: Mapping[str, Values], finalists: Sequence[str], first: Values, memory: Read
) -> str:
    """The gallery (which may be empty), every finalist of the second look, and all of the first."""
    left = ", ".join(without_scores(values, [*finalists, *PANEL_NAMES]))
    discoveries = [one for one in found if one.is_discovery]
    looked = {name: some for name, some in first.items() if some}
    means, before = means_of({n: v for n, v in values[DECIDES].items() if v}), means_of(looked)
    on_prose = means_of({n: v for n, v in values[BESIDE].items() if v})
    leader = best(means, [name for name in PANEL_NAMES if name in means], higher_is_better=False)
    entered, shares = len([name for name in first if name not in alone()]), memory.shares.values()
    lines = [
        f"# Discoveries on {DECIDES}, {PANEL}", "",
        f"{len(discoveries)} of {len(finalists)} finalists are ahead of every mixer of the panel ({SEEDS_AGAIN} fresh "
        f"seeds, {SEEDS_OF_START} of {START}, Welch's t, the weakest comparison of each, false discovery rate "
        f"{FALSE:.0%} over all that entered). They had the best means of {entered} in a first look on {SEEDS} other "
        f"seeds. The panel's best is {leader} at {means[leader]:.4f} bits a byte that is asked for: no gain over it "
        "can be larger than that.",
        *([f"Of what a finalist reads from the context there, {_at_least(min(shares))} is memory, which no control "
           "has."] if shares else []),
        *(["", f"Without scores on {ENOUGH} seeds, and so compared with nothing: {left}."] if left else []),
        "",
        "| finalist | bits | weakest over | gain there | p (BH) | over the start | prose: over the start | "
        "where tokens recur / are new | prose: over the memory-free control | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in found:
        told = (one.effect, one.over_start, one.prose, one.prose_over_control)
        weak, start, prose, control = map(shown, told)
        verdict = "discovery" if one.is_discovery else ""
        lines.append(
            f"| {one.name} | {one.mean:.4f} | {one.weakest} | {weak} | {one.adjusted:.3g} | {start} | {prose} | "
            f"{memory.on_prose(one.name)} | {control} | {verdict} |"
        )
    lines += ["", "| mixer | second look | first look | on prose |", "|---|---|---|---|"]
    for name in sorted(before, key=before.__getitem__):
        again, prose = (f"{some[name]:.4f}" if name in some else "–" for some in (means, on_prose))
        lines.append(f"| {name} | {again} | {before[name]:.4f} | {prose} |")
    return "\n".join([*lines, ""])


def _at_least(share: float) -> str:
    return "all" if share >= 1 else f"{share:.0%} or more"


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
    wanted, name = asked(campaign, top, searched, store), f"discoveries_{campaign}"
    with carried(store, FOLDER / campaign / EXTRACT):
        first = trained(wanted, name, "full", store, workers, click.echo)
        again = trained(second(first), f"{name}_again", "full", store, workers, click.echo)
    trials, cpu_s = len(first.trials) + len(again.trials), first.cpu_s + again.cpu_s
    click.echo(f"{trials} trials, {cpu_s:,.0f} CPU-seconds")


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
        first = wanted.result(archive, "full", f"discoveries_{campaign}")
        again = second(first).result(archive, "full", f"discoveries_{campaign}_again")
    before = {name: first.values(name, DECIDES) for name in wanted.mixers}
    values = {
        DECIDES: {name: again.values(name, DECIDES) for name in again.study.mixers},
        BESIDE: {name: first.values(name, BESIDE) for name in wanted.mixers},
    }
    finalists = [name for name in again.study.mixers if name not in alone()]
    found = judged(values, finalists)
    memory = read(first, finalists)
    text = markdown(found, values, finalists, before, memory)
    told = [asdict(one) | {"is_discovery": one.is_discovery} for one in found]
    record = {"panel": PANEL, "searched": len(wanted.mixers) - len(alone()), "entered": len(finalists),
              "values": values, "first_look": before, "finalists": told}  # fmt: skip
    record["read"] = asdict(memory)
    record["sources"] = {name: wanted.mixers[name] for name in finalists}
    write_table(FOLDER / campaign, "table", text, record)
    click.echo(text)
