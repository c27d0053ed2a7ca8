"""Campaigns of kernels as the report says them: what became of each proposal, every timing, and what may be said.

A value is how much faster than the shipped kernel one timing was, as a logarithm (positive is faster); a gain is over
the start, the shipped algebra in a candidate's file, by the same timings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from asiarc.archive.results import Row, latest_by_campaign
from asiarc.archive.store import Archive
from asiarc.core.recipe import STAGES, StageName
from asiarc.evidence.effects import Effect
from asiarc.report.facts import decision_of, summary

if TYPE_CHECKING:
    from asiarc.loop.kernels import Times

_PROPOSALS = """
    SELECT p.number, p.address, p.name, p.author, p.motivation, r.outcome, r.gate, r.reason
    FROM proposals p LEFT JOIN results r ON r.run = p.run AND r.number = p.number WHERE p.run = ? ORDER BY p.number
"""


def latest_runs(archive: Archive, tier: str, campaigns: Sequence[str] | None) -> list[Row]:
    """One run of each campaign of kernels and of each of its arms: the latest that is finished, else the latest."""
    told = [
        (row, "confirm")
        for row in archive.runs(tier=tier)
        if "start" in row["identity"] and (campaigns is None or row["identity"]["campaign"] in campaigns)
    ]
    return list(latest_by_campaign(archive, told).values())


def kernel_facts(archive: Archive, run: Row) -> Row:
    """Everything that a report says of one run."""
    from asiarc.loop.kernels import KernelOutcome, Times  # which bring torch

    spec, times = run["identity"]["kernels"], Times.of(archive, run["run"])
    proposals = [_proposal(row, times, spec["operator"]) for row in archive.rows(_PROPOSALS, run["run"])]
    confirmed = archive.stage_result(run["run"], "confirm") or {"winner": None}
    names = {times.start: spec["operator"]} | {row["address"]: row["name"] for row in reversed(proposals)}
    winner = _winner(archive, confirmed["winner"], names) if confirmed["winner"] else None
    effect, decision = confirmed.get("effect"), confirmed.get("decision")
    outcome = KernelOutcome(
        run["campaign"], run["tier"], spec["operator"], sum(row["outcome"] == "scored" for row in proposals),
        winner["name"] if winner else None, Effect(**effect) if effect else None, decision,
    )  # fmt: skip
    return {
        "name": run["campaign"], "run": run["run"], "tier": run["tier"], "seed": run["seed"],
        "created_at": run["created_at"], "finished": run["record"] is not None, "operator": spec["operator"],
        "planned": spec["candidates"], "answer": outcome.explain(), "winner": winner, "proposals": proposals,
        "rejected": dict(Counter(row["gate"] for row in proposals if row["outcome"] == "rejected")),
        "rows": [row for stage in STAGES for row in _rows(times, stage, names)],
        "identity": run["identity"], "provenance": run["provenance"],
    }  # fmt: skip


def _proposal(row: Row, times: Times, operator: str) -> Row:
    gain = times.gain("explore", row["address"]) if row["outcome"] == "scored" else None
    told = row["reason"] or ("not judged yet" if row["outcome"] is None else "")
    return {**row, "outcome": row["outcome"] or "", "gate": row["gate"] or "", "reason": told,
            "share": None if gain is None else math.exp(-gain)}  # fmt: skip


def _winner(archive: Archive, address: str, names: Row) -> Row:
    kept = archive.candidate(address)
    assert kept is not None, address
    return {"address": address, "name": names[address], "motivation": kept["motivation"], "source": kept["source"]}


def _rows(times: Times, stage: StageName, names: Row) -> list[Row]:
    """Every kernel that a stage timed: its values by the timing's number, its gain over the start, and what may be said
    of that. Explore's and verify's choose, so there they flatter."""
    rows = []
    for address in times.timings.addresses(stage):
        logs, effect = times.logs(stage, address), times.effect(stage, address) if address != times.start else None
        rows.append({
            "stage": stage, "address": address, "name": names[address], "behind": names[times.start],
            **summary({str(number): -log for number, log in logs.items()}),
            "effect": effect and effect.as_dict(), "decision": effect and decision_of(effect, stage),
        })  # fmt: skip
    return rows
