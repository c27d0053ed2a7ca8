"""``python -m tests.rigs law``: what searches bought for their compute, the loop beside random and the paper's policy.

From the searches in results/discovery, whole or not: what became of the proposals of each hour, the best so far, and
how good candidates arrive. A good one is ahead of the level that one in a hundred of random's is ahead of; where random
was not searched, of the start. Their number along compute is read as N(c) = a c^b (a power-law process: Crow 1974):
b = 1 is a constant yield, the paper's linear law; above 1 a search that learns, below 1 one that runs dry. All gains
are those of the first rung, on one seed, over the start's mean: what every candidate has, and none is chosen by.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.harness.archive_verbs import reading
from asiarc.studies.arms import ends_of, first_rung_gains
from tests.rigs.arms.laboratory import expected_maximum, spent_by_address
from tests.rigs.discovery import FOLDER
from tests.rigs.kept import put_back, write_table

START = "delta_net"
RANDOM = "asi_arch_random"
SEARCHES = ("asi_arch", RANDOM, "asi_arch_paper")
RARE = 0.01  # the share of random's candidates that is good
MARKS = (10, 100, 1_000)
CORES = 2
HOUR_CPU_S = 3_600 * CORES


class Seen(NamedTuple):
    """One proposal: the CPU-seconds that the search had spent when it was dealt with, and its gain if it was scored."""

    cpu_s: float
    gain: float | None


@dataclass(frozen=True)
class Course:
    """One search: its proposals in order, and how they ended."""

    seen: tuple[Seen, ...]
    ends: Mapping[str, int]

    @property
    def cpu_s(self) -> float:
        """Everything that explore spent."""
        return self.seen[-1].cpu_s

    def gains(self) -> list[float]:
        """Those of the scored, in order."""
        return [one.gain for one in self.seen if one.gain is not None]

    def arrivals(self, level: float) -> list[float]:
        """When candidates ahead of a level came, in CPU-seconds."""
        return [one.cpu_s for one in self.seen if one.gain is not None and one.gain > level]


class Exponent(NamedTuple):
    """b of N(c) = a c^b, with its 95 % interval."""

    b: float
    low: float
    high: float


def spent_on(archive: Archive, run: str) -> dict[str, float]:
    """CPU-seconds of explore's gates and trials, by candidate or baseline: what is refused has its price too."""
    found = spent_by_address(archive, run)
    for row in archive.rows(
        "SELECT address, SUM(cpu_s) AS cpu_s FROM admissions "
        "WHERE address IN (SELECT address FROM proposals WHERE run = ?) GROUP BY address",
        run,
    ):
        found[row["address"]] = found.get(row["address"], 0.0) + (row["cpu_s"] or 0.0)
    return found


def read(archive: Archive, campaign: str) -> Course:
    """The latest run of a search; `EvidenceError` where there is none."""
    runs = archive.runs(campaign)
    if not runs:
        begin = f"python -m tests.rigs discovery --search {campaign}"
        raise EvidenceError(f"no search of {campaign}; begin it with: {begin}")
    run = runs[-1]["run"]
    gains = first_rung_gains(archive, run, START)
    rows = archive.proposals(run)
    spent = spent_on(archive, run)
    proposed = {row["address"] for row in rows}
    # What the start and the baselines cost, which every search pays first.
    before = sum(cpu_s for address, cpu_s in spent.items() if address not in proposed)
    seen = []
    for row in rows:
        before += spent.pop(row["address"], 0.0)
        seen.append(Seen(before, gains.get(row["address"])))
    return Course(tuple(seen), dict(ends_of(archive, run)))


def level_of(found: Mapping[str, Course]) -> float:
    """The gain that one in a hundred of random's candidates is ahead of; 0, the start's, without random."""
    if RANDOM not in found:
        return 0.0
    return float(np.quantile(found[RANDOM].gains(), 1 - RARE))


def exponent(arrivals: Sequence[float], end: float) -> Exponent | None:
    """b by maximum likelihood, n / sum of ln(end / c_i), and its exact interval by chi-squared; None below 3 arrivals.

    Source: Crow 1974, "Reliability analysis for complex, repairable systems", for a process observed until `end`.
    """
    from scipy.stats import chi2

    count, logs = len(arrivals), sum(log(end / one) for one in arrivals)
    if count < 3 or logs <= 0:
        return None
    b = count / logs
    low, high = (b * float(chi2.ppf(share, 2 * count)) / (2 * count) for share in (0.025, 0.975))
    return Exponent(b, low, high)


def best_of(searched: Course, draws: int, *, exchangeable: bool) -> float | None:
    """The best of the first so many scored; its expectation where any order could have been (random's)."""
    gains = searched.gains()
    if len(gains) < draws:
        return None
    return expected_maximum(gains, draws) if exchangeable else max(gains[:draws])


def hours(searched: Course, level: float) -> list[dict[str, Any]]:
    """What each hour of two cores bought: proposals, scored ones, good ones, and the best so far."""
    rows: dict[int, dict[str, Any]] = {}
    best = None
    for one in searched.seen:
        hour = int(one.cpu_s // HOUR_CPU_S) + 1
        row = rows.setdefault(hour, {"hour": hour, "proposed": 0, "scored": 0, "good": 0, "best": best})
        row["proposed"] += 1
        if one.gain is not None:
            best = one.gain if best is None else max(best, one.gain)
            row["scored"] += 1
            row["good"] += one.gain > level
        row["best"] = best
    return list(rows.values())


def signed(value: float | None) -> str:
    """A gain, or a dash."""
    return "–" if value is None else f"{value:+.3f}"


def bought(one: Course, level: float) -> dict[str, Any]:
    """One search in numbers."""
    arrivals = one.arrivals(level)
    return {
        "proposed": len(one.seen),
        **{end: one.ends.get(end, 0) for end in ("scored", "refused", "failed")},
        "cpu_hours": one.cpu_s / 3_600,
        "ahead": len(one.arrivals(0.0)),
        "good": len(arrivals),
        "exponent": exponent(arrivals, one.cpu_s),
    }


def markdown(found: Mapping[str, Course]) -> str:
    """The searches side by side, and what each hour bought."""
    level = level_of(found)
    known = RANDOM in found
    whose = "that one in a hundred of random's is ahead of" if known else "of the start, since random was not searched"
    heads = " | ".join(f"best of {mark:,}" for mark in MARKS)
    lines = [
        "# What compute bought", "",
        f"Gains on the first rung, one seed, over the mean of {START}, bits a byte that is asked for. Good: ahead of "
        f"{signed(level)}, the level {whose}. N(c) = a c^b: b = 1 is a constant yield. The best of so many is "
        "random's expectation over all orders (unbiased), and for the others what their first so many reached.", "",
        f"| search | proposed | scored | refused | failed | CPU-hours | ahead of {START} | good | b | {heads} |",
        f"|---|---|---|---|---|---|---|---|---|{'---|' * len(MARKS)}",
    ]  # fmt: skip
    for name, one in found.items():
        best = " | ".join(signed(best_of(one, mark, exchangeable=name == RANDOM)) for mark in MARKS)
        *counts, law = bought(one, level).values()
        told = " | ".join(f"{cell:,.1f}" if isinstance(cell, float) else f"{cell:,}" for cell in counts)
        b = f"{law.b:.2f} [{law.low:.2f}, {law.high:.2f}]" if law else "too few"
        lines.append(f"| {name} | {told} | {b} | {best} |")
    for name, one in found.items():
        lines += ["", f"## {name}, hour by hour on {CORES} cores", ""]
        lines += ["| hour | proposed | scored | good | best so far |", "|---|---|---|---|---|"]
        lines += [
            f"| {row['hour']} | {row['proposed']} | {row['scored']} | {row['good']} | {signed(row['best'])} |"
            for row in hours(one, level)
        ]
    return "\n".join([*lines, ""])


def draw(file: Path, found: Mapping[str, Course]) -> None:
    """Good candidates so far along compute, a line a search."""
    from matplotlib.figure import Figure

    level = level_of(found)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes: Any = figure.subplots()
    for index, (name, one) in enumerate(found.items()):
        at = [0.0, *one.arrivals(level), one.cpu_s]
        counts = [*range(len(at) - 1), len(at) - 2]
        axes.step([cpu_s / 3_600 for cpu_s in at], counts, where="post", color=f"C{index}", label=name)
    axes.set_xlabel("CPU-hours of explore")
    axes.set_ylabel(f"candidates ahead of {signed(level)}")
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


@click.command()
@click.option("--searches", type=click.Path(exists=True, path_type=Path), default=FOLDER, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(searches: Path, output: Path) -> None:
    """What searches bought for their compute."""
    found = {}
    for name in SEARCHES:
        if (file := searches / f"{name}-full.jsonl.gz").exists():
            with tempfile.TemporaryDirectory() as folder:
                put_back(file, Path(folder))
                with reading(Path(folder)) as archive:
                    found[name] = read(archive, name)
    if not found:
        raise EvidenceError(f"no search in {searches}; begin one with: python -m tests.rigs discovery")
    text = markdown(found)
    level = level_of(found)
    searched = {name: {"bought": bought(one, level)} | asdict(one) for name, one in found.items()}
    write_table(output, "law", text, {"level": level, "searches": searched})
    draw(output / "law.svg", found)
    click.echo(text)
