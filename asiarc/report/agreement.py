"""A reproduction beside the published one: how many verdicts are the same, and how far apart the gains are."""

from __future__ import annotations

from pathlib import Path

from asiarc.archive.results import Row
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
