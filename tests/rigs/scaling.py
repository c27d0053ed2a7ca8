"""The ladder: the same mixers and hybrids at growing sizes, each rung foretold before it is trained.

    python -m tests.rigs scaling train --rung 100k     # as often as it takes: what is done is not done again
    python -m tests.rigs scaling predict --rung 300k   # results/ladder/text/300k.json: commit it
    python -m tests.rigs scaling train --rung 300k     # refused while its prediction is not committed
    python -m tests.rigs scaling table                 # results/ladder/text: laws, predictions, their scores

Tokens grow with parameters, and each mixer's rate is tuned at each size, from one grid around the size's own, on a
quarter of the steps and a seed that nothing is measured on. All are brought to DeltaNet's size. The first discoveries
of the 1,773, where they have been told, climb beside the mixers of the panel. With ``--task mixed:zipf`` the ladder
is on the task that decides, in the same number of steps at every size: what it measures is how soon recall is learnt.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

import click
from pydantic import Field

from asiarc.core.errors import EvidenceError
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.pattern import pattern_text
from asiarc.core.recipe import GPU_20M, MICRO, Tier, TrialRecipe
from asiarc.evidence.scaling import MeasuredRung, Prediction, Tally, predict, predict_shrinking, score, turns
from asiarc.harness.archive_verbs import reading
from asiarc.studies.study import Study, StudyResult, trained
from asiarc.tasks import get_task
from tests.rigs import ROOT
from tests.rigs.kept import TRIALS, carried, put_back, write_table

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Request, Workshop

MIXERS = ("delta_net", "gated_delta_net", "mamba2", "kda", "gla", "softmax_attention", "local_filter")
HYBRIDS = ("gated_delta_net", "mamba2")  # each three blocks in four, softmax attention the fourth
ATTENTION = "softmax_attention"
TURNING = ("mamba2", "gated_delta_net")  # the pair whose order is said to turn
RATES = (0.5, 1.0, 2.0)  # times the size's own
STORE, FOLDER = Path(".asiarc/ladder"), ROOT / "results" / "ladder"
DISCOVERED = ROOT / "results" / "discovery" / "asi_arch" / "table.json"
SURVIVORS = 2  # discoveries that climb, the best by their mean
STRAIGHT, SHRINKING = "line", "shrinking"  # laws of distances (`evidence.scaling`); the second from two rungs on
STEPS_OF_RECALL = 100  # after 160, DeltaNet is at the ceiling of the larger sizes


@dataclass(frozen=True)
class Size:
    """One rung: its recipe on text and how many seeds a mixer has there."""

    recipe: TrialRecipe
    seeds: int


_BASE = MICRO.at(num_layers=4, batch_size=16)
SIZES: dict[str, Size] = {  # tokens in proportion to parameters: about two and a half a parameter
    "100k": Size(_BASE.at(name="100k", d_model=48, steps=125), 5),
    "300k": Size(_BASE.at(name="300k", d_model=80, steps=375, learning_rate=5e-3), 4),
    "1M": Size(_BASE.at(name="1M", d_model=160, num_heads=4, steps=1250, learning_rate=3e-3), 3),
    "20M": Size(GPU_20M.at(d_model=448, num_layers=8, num_heads=7), 3),
}


class Rung(Study):
    """All mixers of the ladder at one of its sizes."""

    SEEDS_FROM: ClassVar[str] = "ladder"
    TUNED_ON: ClassVar[int] = 4  # a rate is tuned on one step in so many

    size: str = Field(description="of SIZES")

    def text(self, tier: Tier) -> TrialRecipe:
        """The size's own."""
        return SIZES[self.size].recipe

    def request(
        self, mixer: str, task: str, seed: str, tier: Tier, *, rate: float | None = None, purpose: str = ""
    ) -> Request:
        """One trial; tuning is short."""
        found = super().request(mixer, task, seed, tier, rate=rate, purpose=purpose)
        short = found.recipe.at(steps=max(1, found.recipe.steps // self.TUNED_ON))
        return replace(found, recipe=short) if purpose else found

    def admit(self, workshop: Workshop) -> Mapping[str, Outcome]:
        """All of them: the quadratic reference and what holds it are refused for their cost alone."""
        return dict.fromkeys(self.mixers, SCORED)


class RungOfRecall(Rung):
    """The same on a task that is learnt once and then known: one budget at all sizes, and rates tuned at the whole."""

    TUNED_ON: ClassVar[int] = 1

    def text(self, tier: Tier) -> TrialRecipe:
        """The size's own, in its rows and steps."""
        return SIZES[self.size].recipe.at(steps=STEPS_OF_RECALL)


def survivors(file: Path = DISCOVERED) -> dict[str, str]:
    """Sources by name of the best discoveries; none where none has been told."""
    if not file.exists():
        return {}
    told = json.loads(file.read_text(encoding="utf-8"))
    found = sorted((row for row in told["finalists"] if row["is_discovery"]), key=lambda row: row["mean"])
    return {row["name"]: told["sources"][row["name"]] for row in found[:SURVIVORS]}


def mixed(mixer: str) -> tuple[str, str]:
    """A mixer in three blocks of four, attention in the fourth: the hybrid's name and source."""
    return f"{mixer} 3:1", pattern_text((mixer,) * 3 + (ATTENTION,))


def rung_of(size: str, task: str) -> Rung:
    """The study of a size on a task."""
    from asiarc.models.baselines import baseline_source

    found = SIZES[size]
    kind = RungOfRecall if get_task(task).trains_on_answers else Rung
    alone = {name: baseline_source(name) for name in MIXERS}
    return kind(
        size=size, mixers=alone | dict(map(mixed, HYBRIDS)) | survivors(), tasks=(task,), seeds=found.seeds,
        learning_rates=tuple(factor * found.recipe.learning_rate for factor in RATES),
    )  # fmt: skip


def measured(result: StudyResult, task: str) -> MeasuredRung:
    """A finished rung as its losses."""
    study = result.study
    size = result.size("delta_net")
    assert size is not None, "a finished rung has trials"
    return MeasuredRung(study.size if isinstance(study, Rung) else "", size, {
        mixer: [*result.values(mixer, task).values()] for mixer in study.mixers
    })  # fmt: skip


def below(size: str) -> list[str]:
    """The names of the rungs under one, smallest first."""
    names = list(SIZES)
    return names[: names.index(size)]


# --- predictions ------------------------------------------------------------------------------------------------------


def committed(file: Path) -> str:
    """The commit that a file stands in as it lies there; empty where it is changed or in none."""
    git = ("git", "-C", str(file.parent))
    changed = subprocess.run([*git, "status", "--porcelain", "--", file.name], capture_output=True, text=True)
    found = subprocess.run([*git, "log", "-1", "--format=%H", "--", file.name], capture_output=True, text=True)
    return "" if changed.stdout.strip() or changed.returncode else found.stdout.strip()


def require_foretold(size: str, folder: Path) -> None:
    """`EvidenceError` where a rung that has others below it is to be trained before its prediction is committed."""
    file = folder / f"{size}.json"
    if below(size) and not (file.exists() and committed(file)):
        raise EvidenceError(
            f"the rung {size} is foretold before it is trained: python -m tests.rigs scaling predict --rung {size}, "
            f"and commit {file.name}"
        )


def foretell(size: str, rungs: Sequence[MeasuredRung], task: str, parameters: float) -> dict[str, Any]:
    """The record of a prediction: what it was made from is in it, so that anyone can make it again."""
    seen = {rung.name: {"parameters": rung.parameters, "losses": dict(rung.losses)} for rung in rungs}
    laws = {STRAIGHT: predict(rungs, parameters, SIZES[size].seeds)}
    if len(rungs) > 1:
        laws = {SHRINKING: predict_shrinking(rungs, parameters), **laws}
    law, *beside = laws
    return {
        "rung": size, "task": task, "from": seen, "law": law, "prediction": laws[law].as_dict(),
        "beside": {other: laws[other].as_dict() for other in beside},
    }  # fmt: skip


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """A rung with what was foretold of it."""

    rung: str
    law: str
    commit: str
    score: Tally


def judged(rungs: Sequence[MeasuredRung], folder: Path) -> list[Judged]:
    """Every measured rung whose prediction lies in the folder, with its score by each law."""
    found = []
    for rung in rungs:
        if (file := folder / f"{rung.name}.json").exists():
            record = json.loads(file.read_text(encoding="utf-8"))
            laws = {record.get("law", STRAIGHT): record["prediction"], **record.get("beside", {})}
            found += [
                Judged(rung.name, law, committed(file), score(Prediction.from_dict(foretold), rung))
                for law, foretold in laws.items()
            ]
    return found


def markdown(rungs: Sequence[MeasuredRung], scores: Sequence[Judged]) -> str:
    """Losses by size, the predictions' scores, and where the order of `TURNING` turns."""
    means = {rung.name: {mixer: fmean(values) for mixer, values in rung.losses.items()} for rung in rungs}
    lines = ["# The ladder", "", *_head("mixer", *means)]
    for mixer in sorted(rungs[-1].losses, key=means[rungs[-1].name].__getitem__):
        lines.append(_row(mixer, *(f"{means[r.name][mixer]:.4f} (n = {len(r.losses[mixer])})" for r in rungs)))
    lines += ["", *_head("rung", "law", "foretold in", "pairs right", "of those told apart", "intervals that cover")]
    for one in scores:
        s, commit = one.score, one.commit[:10] or "not committed"
        shares = (f"{s.right} of {s.pairs}", f"{s.told_right} of {s.told}", f"{s.covered} of {s.pairs}")
        lines.append(_row(one.rung, one.law, commit, *shares))
    sizes = turns(rungs, *TURNING)
    where = f"turns at {', '.join(f'{size:,.0f}' for size in sizes)} parameters" if sizes else "does not turn"
    return "\n".join([*lines, "", f"The order of {' and '.join(TURNING)} {where} on these rungs.", ""])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), _row(*("---" for _ in cells))]


def write(folder: Path, rungs: Sequence[MeasuredRung], scores: Sequence[Judged]) -> str:
    """`table.md`, `table.json` and `ladder.svg` in a folder; the Markdown."""
    text = markdown(rungs, scores)
    record = {"rungs": [asdict(rung) for rung in rungs], "scores": [asdict(one) for one in scores]}
    write_table(folder, "table", text, record)
    _draw(folder / "ladder.svg", rungs)
    return text


def _draw(file: Path, rungs: Sequence[MeasuredRung]) -> None:
    """Distance from the mean of all by size, a line a mixer: what the laws are fitted to."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes: Any = figure.subplots()
    distances = [rung.distances() for rung in rungs]
    for index, mixer in enumerate(distances[0]):
        axes.plot([r.parameters for r in rungs], [d[mixer] for d in distances], "o-", color=f"C{index}", label=mixer)
    axes.set_xscale("log")
    axes.set_xlabel("parameters")
    axes.set_ylabel("bits a byte from the mean of all (low is good)")
    axes.legend(fontsize=7)
    figure.savefig(file, metadata={"Date": None})


# --- the commands -----------------------------------------------------------------------------------------------------

RUNG = click.option("--rung", "size", type=click.Choice(list(SIZES)), required=True)
TASK = click.option("--task", default="text", show_default=True, help="text, or the task that decides")
KEPT = click.option("--store", type=click.Path(path_type=Path), default=STORE, show_default=True)
WRITTEN = click.option("--output", type=click.Path(path_type=Path), help="[default: results/ladder/TASK]")


def folder_of(task: str, output: Path | None) -> Path:
    """Where a task's ladder lies."""
    return output or FOLDER / task.replace(":", "-")


def finished(archive: Archive, task: str, sizes: Sequence[str]) -> list[MeasuredRung]:
    """The finished rungs of some sizes, smallest first; one that is not finished ends the ladder there."""
    found = []
    for size in sizes:
        try:
            found.append(measured(rung_of(size, task).result(archive, "full", f"ladder_{size}"), task))
        except EvidenceError:
            break
    return found


@click.group()
def main() -> None:
    """The ladder: what small sizes foretell of larger ones, committed before those are trained."""


@main.command()
@RUNG
@TASK
@KEPT
@WRITTEN
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
def train(size: str, task: str, store: Path, output: Path | None, workers: int) -> None:
    """Train a rung, or go on with it."""
    output = folder_of(task, output)
    require_foretold(size, output)
    with carried(store, output / TRIALS):
        found = trained(rung_of(size, task), f"ladder_{size}", "full", store, workers, click.echo)
    click.echo(f"{size}: {len(found.trials)} trials, {found.cpu_s:,.0f} CPU-seconds")


@main.command(name="predict")
@RUNG
@TASK
@KEPT
@WRITTEN
def foretell_command(size: str, task: str, store: Path, output: Path | None) -> None:
    """Write what the rungs below say of one, before it is trained."""
    from asiarc.core.digest import digest

    output = folder_of(task, output)
    put_back(output / TRIALS, store)
    with reading(store) as archive:
        study = rung_of(size, task)
        if archive.trials(digest(study.identity("full")), study.STAGE_OF_TRIALS):
            raise EvidenceError(f"the rung {size} has trials already: what is said of it now is no prediction")
        record = foretell(size, finished(archive, task, below(size)), task, _parameters(size))
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"{size}.json"
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    click.echo(f"{file}: {' < '.join(record['prediction']['order'])}; commit it, then train the rung")


def _parameters(size: str) -> float:
    """Of DeltaNet at a size, to which all are brought."""
    from asiarc.models.baselines import baseline_source
    from tests.rigs.ladder import size_of

    return float(size_of(baseline_source("delta_net"), SIZES[size].recipe).parameters)


@main.command()
@TASK
@KEPT
@WRITTEN
def table(task: str, store: Path, output: Path | None) -> None:
    """Write what the finished rungs measured, and what became of the predictions."""
    output = folder_of(task, output)
    put_back(output / TRIALS, store)
    with reading(store) as archive:
        rungs = finished(archive, task, list(SIZES))
    if not rungs:
        raise EvidenceError("no rung is finished; python -m tests.rigs scaling train --rung 100k")
    click.echo(write(output, rungs, judged(rungs, output)), nl=False)
