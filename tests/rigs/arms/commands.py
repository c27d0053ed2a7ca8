"""Arms of the search, with the power to tell them apart: hundreds of simulated repeats, and what real ones would need.

    python -m tests.rigs arms harvest results/campaigns/sixth    # what a search trained: results/search/genomes.jsonl
    python -m tests.rigs arms record                             # a few on several seeds, for the noise, and by no
                                                                 # search's choice; as often as it takes
    python -m tests.rigs arms simulate                           # results/search/arms.json and .txt
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import click

from asiarc.core.recipe import stage_plan
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.evidence.power import pairs_needed, power_of
from asiarc.harness.options import WORKERS, Commands
from asiarc.studies.verdicts import USEFUL, shown
from tests.rigs import ROOT
from tests.rigs.arms.genomes import Member, harvested, read, write
from tests.rigs.arms.laboratory import ARMS, FULL, Searched, expected_maximum, worlds
from tests.rigs.arms.world import Surrogate
from tests.rigs.kept import carried

FOLDER = ROOT / "results" / "search"
GENOMES, RECORDED = FOLDER / "genomes.jsonl", FOLDER / "recorded.jsonl"
RUNGS = stage_plan("quick", "explore").rungs
REAL = 20  # repeats that are trained, to hold the simulated ones against
MARKS = (1, 2, 4, 8, 16, 32)  # scored candidates at which the best so far is told


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
    surrogate = Surrogate(members, RUNGS)
    head = [*surrogate.lines(), *refusals(members)]
    click.echo("\n".join(head))
    chosen = tuple(dict.fromkeys((FULL, *(arms or ARMS))))
    found: dict[str, list[Searched]] = {arm: [] for arm in chosen}
    for number, results in enumerate(worlds(surrogate, chosen, repeats, candidates), 1):
        for arm, one in results.items():
            found[arm].append(one)
        if number % 10 == 0:
            click.echo(f"{number} of {repeats} worlds", err=True)
    table = [f"{repeats} worlds, {candidates} candidates a search; gains over the start in bits a byte, in truth"]
    table += [*arm_lines(found), *comparisons(found)]
    click.echo("\n".join(table))
    out.mkdir(parents=True, exist_ok=True)
    (out / "arms.txt").write_text("\n".join([*head, *table]) + "\n", encoding="utf-8")
    rows = {arm: [vars(one) for one in searches] for arm, searches in found.items()}
    (out / "arms.json").write_text(json.dumps({"candidates": candidates, "arms": rows}) + "\n", encoding="utf-8")


def refusals(members: Sequence[Member]) -> list[str]:
    """How the members ended: refused by a gate, and failed in training, apart."""
    refused = sum(member.outcome.startswith("rejected") for member in members)
    failed = sum(not member.outcome.startswith(("rejected", "scored")) for member in members)
    return [f"of {len(members)} genomes {refused} were refused by a gate, {failed} failed in training"]


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
    long = [one.scored for one in searches if len(one.scored) >= count]
    if not long:
        return float("nan")
    return fmean(expected_maximum(one, count) if exchangeable else max(one[:count]) for one in long)


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
