"""Paired item-level tests on lm-eval's per-item logs, with items clustered by task.

Two questions hide in "is it better on the benchmark?". On *these* tasks: items are the sample, tasks are
fixed, and a task with many items is known better than one with few. On tasks *like* these: tasks are the
sample, and a thousand items of one task are still one task. The caller says which with `tasks=`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.evidence.effects import Effect, paired_effect

if TYPE_CHECKING:
    import numpy as np

ItemScores = Mapping[str, Mapping[int, float]]
"""task -> item id -> score of one model on that item."""


def paired_items(
    candidate: ItemScores,
    baseline: ItemScores,
    *,
    higher_is_better: bool = True,
    tasks: Literal["fixed", "sampled"] = "fixed",
    level: float = 0.95,
    num_comparisons: int = 1,
    resamples: int = 4_000,
    seed: int = 0,
) -> Effect:
    """The candidate's gain in mean-of-task-means over the same items, clustered by task.

    fixed: percentile bootstrap of the items within each task, p by flipping the sign of each item's
        difference (exact in distribution under "no item cares which model it meets"). sampled: t interval
        over the tasks' mean differences; a bootstrap over so few tasks covers too little (``python -m
        asiarc.evidence`` measures both). Speaks of two trained models, not of two designs: for designs pair
        over seeds.

    Raises:
        EvidenceError: no common task, a task with fewer than 2 common items, or fewer than 2 tasks when
            sampled.
    """
    differences, unpaired = _task_differences(candidate, baseline, higher_is_better=higher_is_better)
    if tasks == "sampled":
        gains = {number: fmean(gained) for number, gained in enumerate(differences.values())}
        zeros = dict.fromkeys(gains, 0.0)
        found = paired_effect(
            gains, zeros, higher_is_better=True, level=level, num_comparisons=num_comparisons
        )
        return replace(found, test=f"t over {len(gains)} task means", unpaired=unpaired)
    return _fixed_tasks(differences, unpaired, level, num_comparisons, resamples, seed)


def item_scores(
    samples: Mapping[str, Iterable[Mapping[str, Any]]], metric: str
) -> dict[str, dict[int, float]]:
    """Per-item scores out of lm-eval's ``results["samples"]`` (its ``log_samples=True``).

    Raises:
        EvidenceError: an item has no such metric or no single number for it, or a document comes twice (two
            filters).
    """
    scores: dict[str, dict[int, float]] = {}
    for task, items in samples.items():
        scores[task] = {}
        for item in items:
            if metric not in item:
                names = [name for name, value in item.items() if isinstance(value, int | float)]
                raise EvidenceError(f"task {task!r}: {unknown_name('metric', metric, names)}")
            if not isinstance(item[metric], int | float):
                raise EvidenceError(
                    f"task {task!r}: {metric!r} of an item is {item[metric]!r}, not one number"
                )
            if item["doc_id"] in scores[task]:
                raise EvidenceError(
                    f"task {task!r}: item {item['doc_id']} comes twice; keep one of its filters"
                )
            scores[task][item["doc_id"]] = float(item[metric])
    return scores


def _task_differences(
    candidate: ItemScores, baseline: ItemScores, *, higher_is_better: bool
) -> tuple[dict[str, list[float]], int]:
    """(task -> gains over common items, number of items without a partner)."""
    sign = 1.0 if higher_is_better else -1.0
    common = sorted(candidate.keys() & baseline.keys())
    if not common:
        raise EvidenceError(f"no task in common: {sorted(candidate)} against {sorted(baseline)}")
    differences: dict[str, list[float]] = {}
    unpaired = sum(len({**candidate, **baseline}[task]) for task in candidate.keys() ^ baseline.keys())
    for task in common:
        items = sorted(candidate[task].keys() & baseline[task].keys())
        if len(items) < 2:
            raise EvidenceError(f"task {task!r} has {len(items)} items in common; at least 2 are needed")
        differences[task] = [sign * (candidate[task][item] - baseline[task][item]) for item in items]
        unpaired += len(candidate[task].keys() ^ baseline[task].keys())
    if not all(math.isfinite(gain) for gains in differences.values() for gain in gains):
        raise EvidenceError("an item's score is not finite; leave out items that were not scored")
    return differences, unpaired


def _fixed_tasks(
    differences: Mapping[str, list[float]],
    unpaired: int,
    level: float,
    num_comparisons: int,
    resamples: int,
    seed: int,
) -> Effect:
    import numpy as np

    rng = np.random.default_rng(seed)
    resampled, flipped = np.zeros(resamples), np.zeros(resamples)
    for gains in differences.values():
        values, counts = np.unique(np.array(gains), return_counts=True)
        resampled += _resampled_means(values, counts, resamples, rng)
        flipped += _flipped_means(values, counts, resamples, rng)
    mean = fmean(fmean(gains) for gains in differences.values())
    tail = (1 - level) / num_comparisons / 2
    low, high = np.quantile(resampled / len(differences), [tail, 1 - tail])
    extreme = int((np.abs(flipped / len(differences)) >= abs(mean) - 1e-12).sum())
    return Effect(
        mean, min(float(low), mean), max(float(high), mean), sum(map(len, differences.values())),
        stdev(gain for gains in differences.values() for gain in gains), (extreme + 1) / (resamples + 1),
        f"bootstrap of items in {len(differences)} tasks, sign-flip p", level, num_comparisons, unpaired,
    )  # fmt: skip


def _resampled_means(
    values: np.ndarray, counts: np.ndarray, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Bootstrap means of a task; items with one value are drawn together, so right-or-wrong scores cost nothing."""
    total = int(counts.sum())
    return rng.multinomial(total, counts / total, size=resamples) @ values / total


def _flipped_means(
    values: np.ndarray, counts: np.ndarray, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Means of a task with every difference's sign drawn anew; of c equal values, Binomial(c, 1/2) stay."""
    kept = rng.binomial(counts, 0.5, size=(resamples, len(counts)))
    return (2 * kept - counts) @ values / int(counts.sum())
