"""Arms of the search, with the power to tell them apart: hundreds of simulated repeats, and what real ones would need.

    python -m tests.rigs arms harvest results/campaigns/sixth    # what a search trained: results/search/genomes.jsonl
    python -m tests.rigs arms record                             # a few on several seeds, for the noise, and by no
                                                                 # search's choice; as often as it takes
    python -m tests.rigs arms simulate                           # results/search/arms.{json,txt,svg}; goes on, too
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click

from asiarc.core.digest import digest
from asiarc.core.recipe import stage_plan
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.evidence.power import pairs_needed, power_of
from asiarc.harness.options import WORKERS, Commands
from asiarc.studies.verdicts import USEFUL, shown
from tests.rigs import ROOT
from tests.rigs.arms.genomes import harvested, read, write
from tests.rigs.arms.laboratory import ARMS, FULL, Searched, expected_maximum, searched
from tests.rigs.arms.world import Surrogate
from tests.rigs.kept import carried

FOLDER = ROOT / "results" / "search"
GENOMES, RECORDED = FOLDER / "genomes.jsonl", FOLDER / "recorded.jsonl"
RUNGS = stage_plan("quick", "explore").rungs
REAL = 20  # repeats that are trained, to hold the simulated ones against
MARKS = (1, 2, 4, 8, 16, 32)  # scored candidates at which the best so far is told
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of what the full loop's search takes, likewise
RESULT = "arms.json"
BETWEEN = 5  # worlds between two times that the searches are written


@click.group(cls=Commands)
def main() -> None:
    """Arms of the search against one another, simulated on what real genomes showed."""


@main.command()
@click.option("--store", type=click.Path(path_type=Path), default=Path(".asiarc/genomes"), show_default=True)
@click.option("--minutes", type=float, default=8.0, show_default=True, help="stop after about so long")
@click.option("--genomes", "size", type=click.IntRange(30), default=30, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RECORDED, show_default=True)
@WORKERS
def record(store: Path, minutes: float, size: int, out: Path, workers: int) -> None:
    """Train a population of genomes piece by piece; what there is so far is written each time."""
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop, trial_executor
    from tests.rigs.arms.genomes import Recording

    with carried(store, out.with_suffix(".trials.gz")), Archive(store) as archive, trial_executor(workers) as executor:
        recording = Recording(archive, Workshop(archive, executor), size)
        is_whole = recording.record(minutes, click.echo)
        members = recording.members()
    write(members, out)
    click.echo(f"{len(members)} of {size} genomes in {out}" + ("" if is_whole else "; the same command goes on"))


@main.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), default=GENOMES, show_default=True)
def harvest(folders: Sequence[Path], out: Path) -> None:
    """Genomes out of published runs: FOLDERS with an extract."""
    members = harvested(folders)
    write(members, out)
    click.echo(f"{len(members)} genomes in {out}")


@main.command()
@click.argument("repeats", type=click.IntRange(min=3), default=200)
@click.option("--candidates", type=click.IntRange(min=4), default=48, show_default=True, help="of one search")
@click.option(
    "--genomes", "files", type=click.Path(path_type=Path), multiple=True, default=(GENOMES, RECORDED), show_default=True
)
@click.option("--arm", "arms", multiple=True, type=click.Choice(ARMS), help="default: all")
@click.option("--out", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def simulate(repeats: int, candidates: int, files: tuple[Path, ...], arms: tuple[str, ...], out: Path) -> None:
    """Every arm searches REPEATS worlds; what it finds, what tells it from the full loop, and what real repeats can."""
    members = read(*files)
    identity = digest({"genomes": [asdict(member) for member in members], "candidates": candidates, "rungs": RUNGS})
    surrogate = Surrogate(members, RUNGS)
    head = surrogate.lines()
    click.echo("\n".join(head))
    chosen = tuple(dict.fromkeys((FULL, *(arms or ARMS))))
    found = kept(out / RESULT, identity)
    for number in range(repeats):
        for arm in chosen:
            if number == len(found.setdefault(arm, [])):
                found[arm].append(searched(surrogate, arm, number, candidates))
        if (number + 1) % BETWEEN == 0:
            keep(out / RESULT, identity, found)
            click.echo(f"{number + 1} of {repeats} worlds", err=True)
    keep(out / RESULT, identity, found)
    told = {arm: found[arm][:repeats] for arm in chosen}
    table = [f"{repeats} worlds, {candidates} candidates a search; gains over the start in bits a byte, in truth"]
    table += [*arm_lines(told), "", *share_lines(told), "", *comparisons(told)]
    click.echo("\n".join(table))
    (out / "arms.txt").write_text("\n".join([*head, *table]) + "\n", encoding="utf-8")
    draw(out / "arms.svg", told)


def kept(file: Path, identity: str) -> dict[str, list[Searched]]:
    """The searches by arm, world by world, that were simulated before with the same genomes."""
    if not file.exists() or (record := json.loads(file.read_text(encoding="utf-8")))["identity"] != identity:
        return {}
    return {arm: [Searched.of(row) for row in rows] for arm, rows in record["arms"].items()}


def keep(file: Path, identity: str, found: Mapping[str, list[Searched]]) -> None:
    """Write the searches, whole or not at all: a run that ends early goes on from here."""
    rows = {arm: [vars(one) for one in searches] for arm, searches in found.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps({"identity": identity, "arms": rows}) + "\n", encoding="utf-8")
    partial.replace(file)


def arm_lines(found: dict[str, list[Searched]]) -> list[str]:
    """What each arm's winners gain, how many of its proposals were turned away, and the best so far by what was scored.

    The best of so many draws is unbiased where draws are exchangeable (random, best of n); for the others the best so
    far is a mean over searches.
    """
    heads = "  ".join(f"{f'best of {n}':>11}" for n in MARKS)
    lines = [f"{'arm':16} {'winner':>18} {'later':>8} {'refused':>8}  {heads}"]
    for arm, searches in found.items():
        winners = [one.winner for one in searches]
        half = 1.96 * stdev(winners) / sqrt(len(winners))
        best = "  ".join(f"{_best(searches, n, exchangeable=arm == 'random'):>+11.4f}" for n in MARKS)
        later, refused = fmean(one.later for one in searches), fmean(one.refused for one in searches)
        lines.append(f"{arm:16} {fmean(winners):>+9.4f} ± {half:.4f} {later:>+8.4f} {refused:>8.1f}  {best}")
    return lines


def _best(searches: Sequence[Searched], count: int, *, exchangeable: bool) -> float:
    """The largest true gain among so many scored candidates, over the searches that scored so many."""
    long = [one for one in searches if len(one.scored) >= count]
    return fmean(_best_of(one.scored, count, exchangeable) for one in long) if long else float("nan")


def _best_of(gains: Sequence[float], count: int, exchangeable: bool) -> float:
    return expected_maximum(gains, count) if exchangeable else max(gains[:count])


def share_lines(found: dict[str, list[Searched]]) -> list[str]:
    """The best so far by what was spent; an arm whose proposals are refused, or are dear, scores fewer for it."""
    budget = budget_of(found)
    heads = "  ".join(f"{f'{share:.4g}':>9}" for share in SHARES)
    lines = [f"best after a share of the {budget:.0f} CPU-seconds of a full search", f"{'arm':16} {heads}"]
    for arm, searches in found.items():
        best = (best_within(searches, share * budget, exchangeable=arm == "random") for share in SHARES)
        lines.append(f"{arm:16} {'  '.join(f'{value:>+9.4f}' for value in best)}")
    return lines


def budget_of(found: dict[str, list[Searched]]) -> float:
    """Mean CPU-seconds of a search of the full loop."""
    return fmean(one.cpu_s[-1] for one in found[FULL] if one.cpu_s)


def best_within(searches: Sequence[Searched], cpu_s: float, *, exchangeable: bool) -> float:
    """The largest true gain that so many CPU-seconds bought; the start, whose gain is 0, is had for nothing."""
    found = []
    for one in searches:
        count, over = sum(spent <= cpu_s for spent in one.cpu_s), [max(0.0, gain) for gain in one.scored]
        found.append(_best_of(over, count, exchangeable) if count else 0.0)
    return fmean(found)


def draw(file: Path, found: dict[str, list[Searched]]) -> None:
    """Best so far by scored candidates, to as many as half of an arm's searches have, and by CPU-seconds; a line an
    arm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes: Any = figure.subplots(1, 2, sharey=True)
    budget = budget_of(found)
    for index, (arm, searches) in enumerate(found.items()):
        free, lengths = arm == "random", sorted(len(one.scored) for one in searches)
        counts = range(1, max(2, lengths[len(lengths) // 2] + 1))
        spent = [budget * step / 40 for step in range(1, 41)]
        axes[0].plot(counts, [_best(searches, n, exchangeable=free) for n in counts], color=f"C{index}", label=arm)
        axes[1].plot(spent, [best_within(searches, s, exchangeable=free) for s in spent], color=f"C{index}")
    axes[0].set_xlabel("scored candidates")
    axes[1].set_xlabel("CPU-seconds")
    axes[0].set_ylabel("best gain over the start, in truth\n(bits a byte)")
    axes[0].legend(fontsize=7)
    figure.savefig(file, metadata={"Date": None})


def comparisons(found: dict[str, list[Searched]]) -> list[str]:
    """The full loop against each arm, paired by world, and what as many real repeats as are planned would see of it."""
    lines = []
    for arm in [arm for arm in found if arm != FULL]:
        effect = against(found, arm)
        seen = power_of(max(abs(effect.mean), 1e-9), effect.sd, REAL) if effect.sd else 1.0
        needed = pairs_needed(USEFUL, effect.sd) if effect.sd else 2
        lines.append(
            f"full against {arm}: {shown(effect)}; {REAL} real repeats see this difference with chance {seen:.2f}, "
            f"{needed} tell {USEFUL} from nothing four times in five"
        )
    return lines


def against(found: dict[str, list[Searched]], arm: str) -> Effect:
    """The true gain of the full loop's winner over the arm's."""
    mine, theirs = (dict(enumerate(one.winner for one in found[side])) for side in (FULL, arm))
    return paired_effect(mine, theirs, higher_is_better=True)
