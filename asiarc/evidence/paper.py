"""The numbers that the paper prints, typed in with their place, as typed tables.

Source: "AlphaGo Moment for Model Architecture Discovery", arXiv 2507.18074 (2025-07-24). The files lie in
`reproductions/data/`, whose README says which few values come from the authors' public release instead.
"""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from asiarc.core.errors import EvidenceError

TASK_ITEMS: dict[str, int] = {
    "lambada": 5_153,
    "piqa": 1_838,
    "hellaswag": 10_042,
    "winogrande": 1_267,
    "arc_easy": 2_376,
    "arc_challenge": 1_172,
    "social_iqa": 1_954,
    "boolq": 3_270,
}
"""Items in the split that lm-eval 0.4 scores: LAMBADA (OpenAI) and ARC test, the others validation."""

BOOLQ_MAJORITY = 0.6217
"""Share of the more frequent answer in BoolQ's validation split (2,033 of 3,270)."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Accuracies:
    """A model's accuracies in percent by task, as printed, with the printed average."""

    model: str
    discovered: bool
    accuracy: dict[str, float]
    average: float

    def mean_without(self, *tasks: str) -> float:
        """Mean accuracy in percent over all tasks but these."""
        kept = [value for task, value in self.accuracy.items() if task not in tasks]
        return math.fsum(kept) / len(kept)

    def item_error(self, *tasks: str) -> float:
        """Binomial standard error of `mean_without` in points, from the tasks' item counts; no seed noise in it."""
        kept = [task for task in self.accuracy if task not in tasks]
        return binomial_error({task: self.accuracy[task] / 100 for task in kept}, TASK_ITEMS) * 100


@dataclass(frozen=True, slots=True)
class Table1Row(Accuracies):
    """A model at nominal 340M and 15B tokens: accuracies, and two perplexities."""

    wikitext_ppl: float
    lambada_ppl: float


@dataclass(frozen=True, slots=True)
class FollowupRow(Accuracies):
    """A model of the follow-up at 1.3B and 100B tokens: the eight development tasks, and the mean over all 14."""

    overall: float


@dataclass(frozen=True, slots=True)
class Table2Row:
    """A gallery member or baseline: final training loss (nats) and mean accuracy (percent) at 20M and 340M."""

    model: str
    loss_20m: float
    score_20m: float
    loss_340m: float
    score_340m: float
    experiment_index: int | None


@dataclass(frozen=True, slots=True)
class Table3Row:
    """Origins of design components in percent."""

    group: str
    experience: float
    cognition: float
    originality: float


@dataclass(frozen=True, slots=True)
class Figure8Row:
    """Shares of models by parameter class over a block of experiments that ends at `up_to`."""

    up_to: int
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Paper:
    """Everything that the paper prints and the claims use; `printed` holds the single numbers by section."""

    table1: tuple[Table1Row, ...]
    table2: tuple[Table2Row, ...]
    table2_baselines: dict[str, Table2Row]
    gallery_index: tuple[int, ...]
    untabulated: tuple[str, ...]
    """Names of the discoveries that Table 2 leaves out."""
    table3: dict[str, Table3Row]
    figure1: tuple[tuple[int, int], ...]
    figure8: tuple[Figure8Row, ...]
    followup: tuple[FollowupRow, ...]
    printed: dict[str, dict[str, Any]]


def load_paper(reproductions: Path) -> Paper:
    """The paper's numbers from `reproductions/data/`.

    Raises:
        EvidenceError: a file is missing, or a row cannot be read.
    """
    data = reproductions / "data"
    table2 = _rows(data / "table2.csv", _table2_row)
    missing = _rows(data / "table2_missing.csv", lambda row: (int(row["experiment_index"]), row["model"]))
    members = tuple(row for row in table2 if row.experiment_index is not None)
    indices = [row.experiment_index for row in members if row.experiment_index is not None]
    try:
        printed = tomllib.loads((data / "printed.toml").read_text(encoding="utf-8"))
    except (FileNotFoundError, tomllib.TOMLDecodeError) as error:
        raise EvidenceError(f"{data / 'printed.toml'} cannot be read: {error}") from error
    return Paper(
        table1=tuple(_rows(data / "table1.csv", _table1_row)),
        table2=members,
        table2_baselines={row.model: row for row in table2 if row.experiment_index is None},
        gallery_index=tuple(sorted([*indices, *(index for index, _ in missing)])),
        untabulated=tuple(model for _, model in missing),
        table3={row.group: row for row in _rows(data / "table3.csv", _table3_row)},
        figure1=tuple(
            _rows(data / "figure1.csv", lambda row: (int(row["gpu_hours_axis"]), int(row["cumulative_sota"])))
        ),
        figure8=tuple(_rows(data / "figure8.csv", _figure8_row)),
        followup=tuple(_rows(data / "followup.csv", _followup_row)),
        printed=printed,
    )


def find_paper() -> Paper | None:
    """The paper's numbers of the checkout that asiarc runs from, or None where it is installed without one."""
    reproductions = Path(__file__).resolve().parents[2] / "reproductions"
    return load_paper(reproductions) if (reproductions / "data").is_dir() else None


def fitness(loss: float, benchmark: float, judge: float) -> float:
    """The paper's composite fitness as a sum of three terms in 0..1 (its eq. 2 has a third of it).

    sigmoid(6 clamp((4.575 - loss) / 0.4575)) + sigmoid(6 clamp((benchmark - 0.224) / 0.0224)) + (judge - 1) /
    9, clamped to ±1. `loss` is the last logged training loss in nats, `benchmark` the mean of all stage-1
    accuracies as a share, `judge` the language model's weighted score of 1 to 10. Constants: the authors'
    public code.
    """
    return (
        _saturating((4.575 - loss) / (0.1 * 4.575)) + _saturating((benchmark - 0.224) / (0.1 * 0.224)) + (judge - 1) / 9
    )


def binomial_error(shares: Mapping[str, float], items: Mapping[str, int]) -> float:
    """Standard error of the mean of task accuracies (shares) when each task's items are a sample.

    sqrt(sum p (1 - p) / n) / K over K tasks. For the difference of two models it is an upper bound times
    sqrt(2): both meet the same items, and only item logs would say how much that helps.
    """
    return math.sqrt(math.fsum(p * (1 - p) / items[task] for task, p in shares.items())) / len(shares)


def item_error(paper: Paper) -> float:
    """Standard error of a 340M score in points, at Gated DeltaNet's accuracies on its seven tasks; no seed noise."""
    stage = paper.printed["stage2"]
    return 100 * binomial_error(dict(zip(stage["tasks"], stage["gated_delta_net"], strict=True)), TASK_ITEMS)


def _saturating(relative_gain: float) -> float:
    return 1 / (1 + math.exp(-6 * max(-1.0, min(1.0, relative_gain))))


def _accuracies(row: dict[str, str]) -> tuple[str, bool, dict[str, float], float]:
    columns = {task: next(key for key in row if key.startswith(f"{task}_acc")) for task in TASK_ITEMS}
    accuracy = {task: float(row[column]) for task, column in columns.items()}
    return row["model"], row["origin"] == "discovered", accuracy, float(row["average"])


def _table1_row(row: dict[str, str]) -> Table1Row:
    return Table1Row(*_accuracies(row), float(row["wikitext_ppl"]), float(row["lambada_ppl"]))


def _followup_row(row: dict[str, str]) -> FollowupRow:
    return FollowupRow(*_accuracies(row), float(row["overall"]))


def _table2_row(row: dict[str, str]) -> Table2Row:
    return Table2Row(
        row["model"],
        float(row["train_loss_20m"]),
        float(row["test_score_20m"]),
        float(row["train_loss_340m"]),
        float(row["test_score_340m"]),
        int(row["experiment_index"]) if row["experiment_index"] else None,
    )


def _table3_row(row: dict[str, str]) -> Table3Row:
    return Table3Row(
        row["group"], *(float(row[f"{origin}_pct"]) for origin in ("experience", "cognition", "originality"))
    )


def _figure8_row(row: dict[str, str]) -> Figure8Row:
    up_to, *shares = row.values()
    return Figure8Row(int(up_to), tuple(map(float, shares)))


def _rows(path: Path, read: Callable[[dict[str, str]], Row]) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [read(row) for row in csv.DictReader(file)]
    except (FileNotFoundError, KeyError, ValueError, StopIteration) as error:
        raise EvidenceError(f"{path} does not hold the paper's numbers as expected: {error!r}") from error
