"""The study of instruments: which task measures memory, what it costs, how noisy it is, whether its order holds.

    python -m tests.rigs instruments train --minutes 30     # as often as it takes: what is done is not done again
    python -m tests.rigs instruments table                  # results/instruments: Markdown, JSON, CSV and the figure

An instrument is trained with mixers that have a memory and with the controls (or read off the trials of another that
scores a part of the same bytes), at equal size, from one recipe and on the seeds of all studies; the two larger sizes
have fewer seeds. Chosen is by study: valid (`evidence.validity`), noise small enough for `APART` at five seeds, at most
`MOST_CPU_S` a trial.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import MICRO, QUICK, SMALL, TrialRecipe
from asiarc.evidence.effects import paired_effect
from asiarc.evidence.power import pairs_needed
from asiarc.evidence.transfer import rank_correlation
from asiarc.evidence.validity import MemoryFinding, examined
from asiarc.models.controls import CONTROL_NAMES, MEMORY_FREE
from tests.rigs import ROOT
from tests.rigs.kept import TRIALS, carried, put_back

if TYPE_CHECKING:
    from asiarc.archive.store import Archive, Trial
    from asiarc.engineer.workshop import Request

TRAINED = (
    "text", "text:recurring", "code:recurring", "code:long-recurring",
    "mixed", "mixed:overwrite", "mixed:counting", "in_context_recall", "mixed:zipf", "mixed:zipf-once",
)  # fmt: skip
WHOLE_OF = {"text:long": "text:recurring", "code": "code:recurring", "code:long": "code:long-recurring"}
"""Read off another's trials: both draw the same rows and documents, and differ in which bytes are scored."""
INSTRUMENTS = (*TRAINED, *WHOLE_OF)
MIXERS = (
    "linear_attention+gate+skip+convolution", "gla+skip+convolution", "mamba2", "delta_net+gate+skip",
    "gated_delta_net+skip",
)  # fmt: skip
"""Each with what the memory-free control has, too (a filter, a skip, an output gate): what is left is its memory."""
SIZE_OF = "delta_net"
BY_SIZE: dict[str, tuple[TrialRecipe, int]] = {  # recipe and seeds, by size; tokens a step are the same
    "micro": (MICRO.at(steps=250), 5),
    "300k": (MICRO.at(name="300k", d_model=96, num_layers=3, num_heads=3, steps=500, learning_rate=5e-3), 2),
    "1M": (SMALL.at(steps=500), 2),
}
SPARSE = QUICK.at(steps=300, learning_rate=4e-3)  # until most mixers have learnt to recall
RECIPE_OF = {"mixed:zipf": SPARSE, "mixed:zipf-once": SPARSE}  # at the smallest size, where not `BY_SIZE`'s
DOCUMENTS = 128
CAPABILITY = 0.5  # share of a synthetic task's own steps
APART = 0.02  # bits a byte that five seeds should tell
MOST_CPU_S = 60.0
AT_ONCE = 4  # trials of a worker between two looks at the clock: they differ in length
STORE = Path(".asiarc/instruments")
FOLDER = ROOT / "results" / "instruments"
RUN = "instruments"
Values = dict[str, dict[str, float]]  # by mixer, by seed


@dataclass(frozen=True)
class Row:
    """One instrument at one size: what it costs, how noisy it is, and what its mixers and controls show."""

    instrument: str
    size: str
    unit: str
    cpu_s: float  # a trial, the mean
    sd: float  # over seeds, pooled over the mixers
    pairs: int | None  # seeds that tell `APART` four times in five; None where no number of them was found
    ahead: int  # mixers with a memory that are ahead of the memory-free control by an interval
    of: int
    share: float | None
    valid: bool | None
    reason: str
    order: float | None  # rank correlation of the mixers' means with the micro size's; None there
    means: dict[str, float]


# --- training ---------------------------------------------------------------------------------------------------------


@cache
def source_of(name: str) -> str:
    """The file of a control or of a mixer, with or without what all of them could have (`designs.variants`)."""
    from asiarc.models.baselines import baseline_source
    from asiarc.researcher.designs import variants
    from asiarc.researcher.render import render

    if name in CONTROL_NAMES:
        return baseline_source(name)
    return render(variants(re.split("[+-]", name, maxsplit=1)[0])[name])


def wanted(instruments: Sequence[str], mixers: Sequence[str], size: str, seeds: int | None) -> Iterator[Request]:
    """Every trial of one size, seed by seed, so that a study that is stopped has all instruments on fewer seeds."""
    from asiarc.core.candidate import content_address
    from asiarc.loop.trials import trial_recipe, trial_request

    recipe, most = BY_SIZE[size]
    matched = source_of(SIZE_OF)
    for seed in range(min(seeds or most, most)):
        for instrument in instruments:
            text = RECIPE_OF.get(instrument, recipe) if size == "micro" else recipe
            for mixer in mixers:
                source = source_of(mixer)
                yield trial_request(
                    (content_address(source), source), instrument, "confirm", f"study/{seed}",
                    trial_recipe(instrument, text, text.steps, CAPABILITY),
                    match=(content_address(matched), matched), documents=DOCUMENTS,
                )  # fmt: skip


def train_next(store: Path, requests: Sequence[Request], minutes: float, workers: int) -> tuple[int, int]:
    """Train what the archive lacks, a few for each worker, until the minutes are over; how many were, are left."""
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop, trial_executor

    until, ran = time.monotonic() + 60 * minutes, 0
    with Archive(store) as archive, trial_executor(workers) as executor:
        workshop = Workshop(archive, executor)
        if archive.run(RUN) is None:
            archive.add_run(RUN, RUN, "full", 0, {}, {})
        for request in requests:
            archive.add_candidate(request.address, request.address, request.source, "")
        missing = [request for request in requests if archive.trial(request.key) is None]
        for start in range(0, len(missing), AT_ONCE * workers):
            if time.monotonic() > until:
                break
            for trial in workshop.train(RUN, missing[start : start + AT_ONCE * workers]):
                ran += 1
                click.echo(
                    f"{trial.task} {trial.address} {trial.seed}: {trial.outcome} {trial.value} {trial.cpu_s:.0f} s"
                )
    return ran, len(missing) - ran


# --- reading ----------------------------------------------------------------------------------------------------------


def read(archive: Archive, mixers: Sequence[str], instrument: str, size: str) -> dict[str, list[Trial]]:
    """The stored trials of an instrument at a size, by mixer."""
    found: dict[str, list[Trial]] = {mixer: [] for mixer in mixers}
    trained = WHOLE_OF.get(instrument, instrument)
    names = {request.address: mixer for mixer in mixers for request in wanted([trained], [mixer], size, 1)}
    for request in wanted([trained], mixers, size, None):
        if (trial := archive.trial(request.key)) is not None and trial.value is not None:
            found[names[request.address]].append(trial)
    return {mixer: trials for mixer, trials in found.items() if trials}


def row_of(instrument: str, size: str, trials: Mapping[str, Sequence[Trial]], micro: Mapping[str, float]) -> Row | None:
    """What an instrument's trials at a size say; None where there are none."""
    from asiarc.tasks import get_task

    if not trials:
        return None
    task = get_task(instrument)
    values: Values = {mixer: {t.seed: value_of(instrument, t) for t in some} for mixer, some in trials.items()}
    means = {mixer: statistics.fmean(by_seed.values()) for mixer, by_seed in values.items()}
    finding, reason = _finding(values, _uninformed(instrument, trials), instrument)
    sd = pooled_sd(values)
    return Row(
        instrument, size, task.metric,
        cpu_s=statistics.fmean(t.cpu_s for some in trials.values() for t in some),
        sd=sd, pairs=_pairs(sd), ahead=ahead_of(MEMORY_FREE, values, higher_is_better=task.higher_is_better),
        of=sum(mixer not in CONTROL_NAMES for mixer in values),
        share=finding.share if finding else None, valid=finding.is_valid if finding else None, reason=reason,
        order=None if size == "micro" else _order(micro, means), means=means,
    )  # fmt: skip


def value_of(instrument: str, trial: Trial) -> float:
    """What a trial says of an instrument: its value, or that of all bytes where it was scored on a part of them."""
    value = trial.details["within"]["whole"] if instrument in WHOLE_OF else trial.value
    assert value is not None, trial.key
    return float(value)


def pooled_sd(values: Values) -> float:
    """The standard deviation over seeds, pooled over the mixers with two or more: sqrt of the mean variance."""
    variances = [statistics.variance(by_seed.values()) for by_seed in values.values() if len(by_seed) > 1]
    return statistics.fmean(variances) ** 0.5 if variances else float("nan")


def ahead_of(control: str, values: Values, *, higher_is_better: bool) -> int:
    """How many mixers with a memory are ahead of a control by an interval, widened for all of them."""
    mixers = [mixer for mixer in values if mixer not in CONTROL_NAMES]
    ahead = 0
    for mixer in mixers:
        try:
            effect = paired_effect(
                values[mixer], values.get(control, {}), higher_is_better=higher_is_better, num_comparisons=len(mixers)
            )
        except EvidenceError:
            continue
        ahead += effect.low > 0
    return ahead


def _finding(values: Values, uninformed: float, instrument: str) -> tuple[MemoryFinding | None, str]:
    from asiarc.tasks import get_task

    task = get_task(instrument)
    controls = {mixer: some for mixer, some in values.items() if mixer in CONTROL_NAMES}
    memories = {mixer: some for mixer, some in values.items() if mixer not in CONTROL_NAMES}
    try:
        found = examined(
            memories, controls, uninformed=uninformed, higher_is_better=task.higher_is_better, share=task.validity.share
        )
    except EvidenceError as error:
        return None, str(error)
    return found, found.reason


def _uninformed(instrument: str, trials: Mapping[str, Sequence[Trial]]) -> float:
    from asiarc.engineer.within import entropy
    from asiarc.tasks import get_task

    task = get_task(instrument)
    if task.chance is not None:
        return task.chance
    if instrument in WHOLE_OF:
        documents = task.documents("confirmation", DOCUMENTS, "confirm items")
        return entropy(np.frombuffer("".join(one["text"] for one in documents).encode(), dtype=np.uint8))
    return statistics.fmean(t.details["within"]["uninformed"] for some in trials.values() for t in some)


def _pairs(sd: float) -> int | None:
    """Seeds that tell `APART`: a difference of two runs has sqrt(2) times the spread of one."""
    if not sd > 0:
        return None
    try:
        return pairs_needed(APART, sd * 2**0.5)
    except EvidenceError:
        return None


def _order(micro: Mapping[str, float], means: Mapping[str, float]) -> float | None:
    both = sorted(micro.keys() & means.keys())
    if len(both) < 3:
        return None
    return rank_correlation([micro[mixer] for mixer in both], [means[mixer] for mixer in both]).rho


# --- writing ----------------------------------------------------------------------------------------------------------

COLUMNS = ("instrument", "size", "CPU-s", "sd", f"n for {APART:g}", "ahead", "memory's share", "valid", "order")


def cells(row: Row) -> list[str]:
    """A row as it is printed."""
    return [
        row.instrument,
        row.size,
        f"{row.cpu_s:.0f}",
        f"{row.sd:.4f}",
        "–" if row.pairs is None else str(row.pairs),
        f"{row.ahead} of {row.of}",
        "–" if row.share is None else f"{row.share:.0%}",
        {None: "–", True: "yes", False: "no"}[row.valid],
        "–" if row.order is None else f"{row.order:.2f}",
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The table, and below it why each is valid or not."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    reasons = [f"- {row.instrument}, {row.size}: {row.reason}" for row in rows]
    return "\n".join(["# Instruments", "", *lines, "", *reasons, ""])


def write(folder: Path, rows: Sequence[Row]) -> None:
    """`table.md`, `table.json`, `table.csv` and `shares.svg` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(markdown(rows))
    (folder / "table.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS, *map(cells, rows)])
    _draw(folder / "shares.svg", [row for row in rows if row.share is not None])


def _draw(file: Path, rows: Sequence[Row]) -> None:
    """Memory's share against the noise of a trial, a point an instrument and size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes: Any = figure.subplots()
    for row in rows:
        axes.plot(row.sd, row.share, "o", color="C0" if row.valid else "C7")
        axes.annotate(f"{row.instrument}, {row.size}", (row.sd, row.share), fontsize=7)
    axes.set_xlabel("standard deviation over seeds")
    axes.set_ylabel("memory's share of what context gives")
    figure.savefig(file, metadata={"Date": None})


# --- the commands -----------------------------------------------------------------------------------------------------

SIZES = click.option("--size", "sizes", type=click.Choice(list(BY_SIZE)), multiple=True, help="instead of all")
NAMES = click.option("--instrument", "instruments", multiple=True, default=INSTRUMENTS, help="instead of all")
KEPT = click.option("--store", type=click.Path(path_type=Path), default=STORE, show_default=True)


@click.group()
def main() -> None:
    """Which task measures memory, what it costs, how noisy it is, whether its order holds at larger sizes."""


@main.command()
@SIZES
@NAMES
@KEPT
@click.option("--mixer", "mixers", multiple=True, default=(*CONTROL_NAMES, *MIXERS), help="instead of all")
@click.option("--seeds", type=click.IntRange(min=1), help="fewer than the size has")
@click.option("--minutes", type=float, default=30.0, show_default=True, help="no trial is begun after them")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
def train(
    sizes: tuple[str, ...],
    instruments: tuple[str, ...],
    store: Path,
    mixers: tuple[str, ...],
    seeds: int | None,
    minutes: float,
    workers: int,
) -> None:
    """Train the next trials of the study."""
    trained = tuple(dict.fromkeys(WHOLE_OF.get(name, name) for name in instruments))
    asked = [one for size in sizes or BY_SIZE for one in wanted(trained, mixers, size, seeds)]
    with carried(store, FOLDER / TRIALS):
        ran, left = train_next(store, asked, minutes, workers)
    click.echo(f"{ran} trained, {left} left of {len(asked)}")


@main.command()
@SIZES
@NAMES
@KEPT
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def table(sizes: tuple[str, ...], instruments: tuple[str, ...], store: Path, output: Path) -> None:
    """Write what the stored trials say."""
    from asiarc.archive.store import Archive

    put_back(output / TRIALS, store)
    mixers, rows = (*CONTROL_NAMES, *MIXERS), list[Row]()
    with Archive(store, write=False) as archive:
        for instrument in instruments:
            micro: dict[str, float] = {}
            for size in sizes or BY_SIZE:
                row = row_of(instrument, size, read(archive, mixers, instrument, size), micro)
                if row is not None:
                    micro = row.means if size == "micro" else micro
                    rows.append(row)
    write(output, rows)
    click.echo(markdown(rows))
