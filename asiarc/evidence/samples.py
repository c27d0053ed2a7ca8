"""Two lm-eval sample logs (``samples_TASK_TIME.jsonl``, written by --log_samples) of anybody's models, item by item.

Only what was asked alike is compared: the same items, the same prompts, the same metric and filter. What differs is
refused with the first item that shows it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.evidence.effects import Effect, paired_items

HIGHER = (
    "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1", "mcc", "likelihood", "bleu", "chrf",
    "rouge1", "rouge2", "rougeL", "rougeLsum", "pass@1", "pass_at_1",
    "prompt_level_strict_acc", "prompt_level_loose_acc", "inst_level_strict_acc", "inst_level_loose_acc", "bypass",
    "mc1", "mc2", "contains", "score",
)  # fmt: skip
LOWER = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "ter", "brier_score", "loss")
SAME = {"doc_hash": "items", "target_hash": "right answers", "prompt_hash": "prompts (shots, template or instruction)"}
Key = tuple[str, str]  # metric, filter


@dataclass(frozen=True)
class Samples:
    """One log: its task by the file's name, and its rows by filter and item."""

    file: Path
    task: str
    rows: Mapping[str, Mapping[str, dict[str, Any]]]

    @property
    def measured(self) -> list[Key]:
        """Every metric and filter that all of its rows have, in the order of the log."""
        found = []
        for name, rows in self.rows.items():
            first = next(iter(rows.values()))
            metrics = first.get("metrics") or [key for key in first if key in (*HIGHER, *LOWER)]
            found += [(str(metric), name) for metric in metrics if all(metric in row for row in rows.values())]
        return found


@dataclass(frozen=True)
class ItemComparison:
    """The effect of the first log over the second on a metric, positive where the first is ahead."""

    task: str
    metric: str
    filter: str
    effect: Effect


def load_samples(file: Path) -> Samples:
    """A log as it was written; `EvidenceError` names the line that is none of a sample log."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for number, row in _lines(file):
        if "doc_id" not in row:
            raise EvidenceError(
                f"{file}:{number}: no doc_id, so this is no sample log of lm-eval; give a samples_*.jsonl that "
                "lm_eval --log_samples wrote"
            )
        by_item = rows.setdefault(str(row.get("filter", "none")), {})
        item = str(row["doc_id"])
        if item in by_item:
            raise EvidenceError(f"{file}:{number}: item {item} stands there twice; give the log of one run of one task")
        by_item[item] = row
    if not rows:
        raise EvidenceError(f"{file} is empty; give a samples_*.jsonl that lm_eval --log_samples wrote")
    named = re.fullmatch(r"samples_(.+?)(_\d{4}-\d\d-\d\dT[\d.:-]+)?", file.stem)
    return Samples(file, named[1] if named else file.stem, rows)


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{file} cannot be read ({error}); give a samples_*.jsonl of lm-eval") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise EvidenceError(
                    f"{file}:{number}: not JSON ({error}); was the log cut short? Run it again"
                ) from error
            if not isinstance(row, dict):
                raise EvidenceError(f"{file}:{number}: not an object; give a samples_*.jsonl of lm-eval")
            yield number, row


def compare_samples(a: Samples, b: Samples, metric: str | None = None) -> ItemComparison:
    """The paired effect of one log over another, by item.

    `metric` is a name of lm-eval's, with ",FILTER" where a log has several; by default the first that both have.
    Raises `EvidenceError` where the two are not comparable, and says why.
    """
    if a.task != b.task:
        raise EvidenceError(
            f"{a.file.name} is of task {a.task!r}, {b.file.name} of {b.task!r}: they share no item; "
            "give two logs of one task"
        )
    name, chosen = _chosen(a, b, metric)
    mine, theirs = a.rows[chosen], b.rows[chosen]
    common = [item for item in mine if item in theirs]
    if len(common) < 2:
        raise EvidenceError(
            f"{a.file} and {b.file} have {len(common)} items in common (by doc_id); give two logs of the same items"
        )
    for item in common:
        _same(a, b, item, mine[item], theirs[item])
    values = [{item: _value(log, row, name) for item, row in log.rows[chosen].items()} for log in (a, b)]
    effect = paired_items(values[0], values[1], higher_is_better=name in HIGHER)
    return ItemComparison(a.task, name, chosen, effect)


def _chosen(a: Samples, b: Samples, metric: str | None) -> Key:
    """The metric and filter that are compared."""
    both = [key for key in a.measured if key in b.measured]
    known = [key for key in both if key[0] in (*HIGHER, *LOWER)]
    if metric is None:
        if known:
            return known[0]
        told = ", ".join(sorted({name for name, _ in [*a.measured, *b.measured]})) or "none"
        raise EvidenceError(
            f"no metric of both logs has a direction known here (they have: {told}); log one of {', '.join(HIGHER[:8])}"
        )
    name, _, chosen = metric.partition(",")
    fitting = [key for key in known if key[0] == name and chosen in ("", key[1])]
    if not fitting:
        raise EvidenceError(unknown_name("metric of both logs", metric, [",".join(key) for key in known]))
    return fitting[0]


def _same(a: Samples, b: Samples, item: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    for field, what in SAME.items():
        if field in mine and field in theirs and mine[field] != theirs[field]:
            raise EvidenceError(
                f"the {what} differ, first at item {item} ({field} in {a.file} and {b.file}): the two were not asked "
                "alike; run both with the same lm-eval, task and settings"
            )


def _value(log: Samples, row: Mapping[str, Any], metric: str) -> float:
    """An item's value; a rolling likelihood is a pair (log-likelihood, weight) and becomes bits or nats a unit."""
    found = row[metric]
    if isinstance(found, (list, tuple)) and len(found) == 2 and found[1]:
        nats = -float(found[0]) / float(found[1])
        return nats / math.log(2) if metric == "bits_per_byte" else nats
    if isinstance(found, (bool, int, float)):
        return float(found)
    raise EvidenceError(
        f"{log.file}: item {row['doc_id']} has {metric} = {found!r}, which is no number of one item; choose another "
        "with --metric"
    )
