"""How much of a stage's gains is memory: the mixers against the controls, by position, and by what stood before.

Read from controls that were trained beside the baselines, and from the sums that each trial's referee kept
(`asiarc.engineer.within`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from asiarc.archive.results import CampaignResult, Row, Values, paired_by_seed, values_of
from asiarc.archive.store import Trial
from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import StageName
from asiarc.evidence.validity import examined
from asiarc.models.controls import MEMORY_FREE
from asiarc.tasks import get_task


def memory_facts(reading: CampaignResult, stage: StageName, rows: Sequence[Row]) -> list[Row]:
    """For each deciding task of a stage whose controls were trained: is it shown to measure memory, and what is local
    of the gain of each mixer of its table; empty where no control was trained."""
    if not reading.controls:
        return []
    trials = reading.trials(stage)
    facts = (_of_task(task, reading.controls, trials, rows) for task in reading.deciding_tasks(stage))
    return [row for row in facts if row is not None]


def _of_task(name: str, addresses: Mapping[str, str], trials: Sequence[Trial], rows: Sequence[Row]) -> Row | None:
    controls = {control: values_of(trials, address, name) for control, address in addresses.items()}
    controls = {control: values for control, values in controls.items() if values}
    if not controls:
        return None
    task = get_task(name)
    lacking = [t for t in trials if t.task == name and t.address in addresses.values()]
    shown = task.shown.study if task.shown else ""
    row: Row = {"task": name, "shown": shown, "uninformed": uninformed_on(name, lacking)}
    return row | judged(row, rows, controls) | _within(name, trials, rows, addresses.get(MEMORY_FREE, ""))


def uninformed_on(name: str, trials: Iterable[Trial]) -> float | None:
    """What one who reads nothing scores on a task: chance, or as the trials' referees measured it; None where neither
    is known."""
    task = get_task(name)
    return task.chance if task.chance is not None else _mean(_sums(trial, "uninformed") for trial in trials)


def judged(row: Row, rows: Sequence[Row], controls: Mapping[str, Values]) -> Row:
    """What the values of a stage's baselines and of its controls say of a task, and what each mixer gains over each
    control, in its rows' order; `reason` says what is missing where that cannot be said."""
    task = get_task(row["task"])
    baselines = {one["name"]: one["tasks"][task.name]["values"] for one in rows if one["role"] == "baseline"}
    found: Row = {"controls": {name: dict(values) for name, values in controls.items()}, "valid": None}
    try:
        if row["uninformed"] is None:
            raise EvidenceError("its trials kept no sums of bits")
        finding = examined(
            baselines,
            controls,
            uninformed=row["uninformed"],
            higher_is_better=task.higher_is_better,
            share=task.validity.share,
        )
        found |= {"valid": finding.is_valid, "reason": finding.reason, "share": finding.share}
    except EvidenceError as error:
        found |= {"reason": f"not shown to measure memory: {error}", "share": None}
    return found | {"gains": [_gains(one, task.name, controls) for one in rows]}


def _gains(row: Row, task: str, controls: Mapping[str, Values]) -> Row:
    gains: Row = {}
    for control, values in controls.items():
        try:
            gains[control] = paired_by_seed(row["tasks"][task]["values"], values, task).as_dict()
        except EvidenceError:
            gains[control] = None
    return {"name": row["name"], "over": gains}


def _within(name: str, trials: Sequence[Trial], rows: Sequence[Row], memory_free: str) -> Row:
    """Bits a token that each mixer is ahead of the memory-free control, by position and by novelty."""
    base = [t for t in trials if t.task == name and t.address == memory_free]
    found: list[Row] = []
    for row in rows:
        mine = [t for t in trials if t.task == name and t.address == row["address"]]
        if (ours := parts_of(mine)) and (theirs := parts_of(base)):
            ahead = {part: theirs[part] - bits for part, bits in ours.items() if part in theirs}
            found.append({"name": row["name"], "ahead": ahead})
    return {"within": found}


def parts_of(trials: Iterable[Trial]) -> dict[str, float]:
    """Bits a token by part, over all trials: ``from 8`` a bin of positions, ``recurring`` a novelty."""
    sums: dict[str, list[float]] = {}
    for trial in trials:
        within = trial.details.get("within") or {"positions": [], "novelty": {}}
        parts = [(f"from {begin:.0f}", count, bits) for begin, count, bits in within["positions"]]
        parts += [(name, *pair) for name, pair in within["novelty"].items()]
        for part, count, bits in parts:
            total = sums.setdefault(part, [0.0, 0.0])
            total[0] += count
            total[1] += bits
    return {part: bits / count for part, (count, bits) in sums.items() if count}


def _sums(trial: Trial, key: str) -> float | None:
    found: Any = (trial.details.get("within") or {}).get(key)
    read = trial.details.get("bits_per_token")
    return found * trial.value / read if found is not None and read and trial.value is not None else found


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
