"""A reproduction beside the published ones: how many verdicts are the same, how far apart the gains are, and for each
claim the strongest verdict that is committed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asiarc.archive.results import Row
from asiarc.core.recipe import TIERS
from asiarc.report.document import read_report


def agreement(published: Path, found: Path) -> str:
    """One line on two reports' folders: what agrees, or the verdicts that differ, of what both have."""
    old, new = read_report(published), read_report(found)
    before, after = _verdicts(old), _verdicts(new)
    both = sorted(before.keys() & after.keys())
    differing = [f"{claim} was {before[claim]}, is {after[claim]}" for claim in both if before[claim] != after[claim]]
    old_gains, new_gains = _gains(old), _gains(new)
    apart = [abs(new_gains[place] - old_gains[place]) for place in old_gains.keys() & new_gains.keys()]
    gains = f"gains within {max(apart):.4f}" if apart else "no gain in both"
    told = f"{len(both) - len(differing)} of {len(before)} verdicts, {gains}"
    if differing:
        return f"differs from the published run in {published}: {told}; {'; '.join(differing)}"
    return f"agrees with the published run in {published}: {told}"


def side_by_side(published: Path, found: Path) -> list[Row]:
    """For each claim of a report, its verdict, and of the published reports (a folder a tier) the strongest: the one of
    the largest tier that says anything, None where none does."""
    strongest: dict[str, Row] = {}
    for tier in TIERS:
        if (published / tier / "report.json").exists():
            told = _verdicts(read_report(published / tier)).items()
            strongest |= {claim: {"verdict": v, "tier": tier} for claim, v in told if v != "not testable here"}
    today = sorted(_verdicts(read_report(found)).items())
    return [{"claim": claim, "verdict": verdict, "published": strongest.get(claim)} for claim, verdict in today]


def lines(rows: Sequence[Row]) -> list[str]:
    """`side_by_side` as a table."""
    told = [("claim", "today", "strongest that is published")]
    for row in rows:
        best = row["published"]
        told.append((row["claim"], row["verdict"], f"{best['verdict']} ({best['tier']})" if best else "none"))
    return [f"{claim:<5} {verdict:<30} {best}" for claim, verdict, best in told]


def _verdicts(report: Row) -> dict[str, str]:
    return {row["verdict"]["claim"]: row["verdict"]["verdict"] for row in report["claims"]["decided"]}


def _gains(report: Row) -> dict[tuple[str, ...], float]:
    """The winners' gains on fresh seeds and items, by campaign, baseline and task."""
    return {
        (campaign["name"], row["baseline"], row["task"]): row["effect"]["mean"]
        for campaign in report["campaigns"]
        for row in campaign["gains"]
        if row["fresh"] and row["effect"]
    }
