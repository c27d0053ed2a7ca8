"""What a claim's decider may look at: the paper's tables, the user's copy of the release, campaigns and baselines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asiarc.archive.results import CampaignResult
from asiarc.core.errors import EvidenceError
from asiarc.core.loading import executed
from asiarc.evidence.claims import Decider, Verdict, load_register, mark_of, reach_verdict

if TYPE_CHECKING:
    from pathlib import Path

    from asiarc.archive.store import Archive
    from asiarc.core.recipe import Tier
    from asiarc.evidence.paper import Paper
    from asiarc.evidence.release import Release


@dataclass(frozen=True)
class LabEvidence:
    """The evidence of one session: an archive at a tier, beside the paper's printed numbers."""

    archive: Archive
    tier: Tier
    reproductions: Path
    release_path: Path | None = None

    @cached_property
    def paper(self) -> Paper:
        """The tables and figures that the paper prints."""
        from asiarc.evidence.paper import load_paper

        return load_paper(self.reproductions)

    @cached_property
    def release(self) -> Release:
        """The authors' released numbers: of the folder that the user brought, else of the table that is shipped."""
        from asiarc.evidence.release import read_release, read_shipped

        shipped = self.reproductions / "data" / "released.csv"
        return read_release(self.release_path) if self.release_path else read_shipped(shipped)

    def campaign(self, name: str) -> CampaignResult:
        """The latest finished run of a campaign at this tier; `EvidenceError` where there is none."""
        for row in reversed(self.archive.runs(name, self.tier)):
            result = CampaignResult.load(self.archive, row["run"])
            last = "confirm" if result.spec.get("verify") else "explore"
            if self.archive.stage_result(row["run"], last) is not None:
                return result
        raise EvidenceError(
            f"campaign {name} has no finished run at tier {self.tier}; run: pytest campaigns --tier {self.tier}"
        )


def deciders(folder: Path) -> dict[str, Decider]:
    """Every decider of a folder's ``claim_*.py`` by its claim, for who has no pytest session around it."""
    found: dict[str, Decider] = {}
    sys.path.insert(0, str(folder.parent))
    try:
        for path in sorted(folder.glob("claim_*.py")):
            module = executed(path, f"asiarc_{path.stem}")
            found |= {mark.claim: thing for thing in vars(module).values() if (mark := mark_of(thing))}
    finally:
        sys.path.remove(str(folder.parent))
    return found


def needs_of(reproductions: Path) -> dict[str, str]:
    """Claim to what deciding it takes, as the register says."""
    return {claim.id: claim.needs for claim in load_register(reproductions / "claims.toml").values()}


def reached(archive: Archive, tier: Tier, reproductions: Path, claims: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Of `decided_again`, the verdicts that say something, as data."""
    found = decided_again(archive, tier, reproductions, claims)
    return {claim: verdict.as_dict() for claim, verdict in found.items() if verdict.verdict != "not testable here"}


def decided_again(archive: Archive, tier: Tier, reproductions: Path, claims: Iterable[str]) -> dict[str, Verdict]:
    """The verdicts that the deciders of a folder reach on some claims, where it has one, from an archive alone."""
    register, known = load_register(reproductions / "claims.toml"), deciders(reproductions)
    evidence = LabEvidence(archive, tier, reproductions)
    return {c: reach_verdict(known[c], evidence, register[c]) for c in claims if c in known and c in register}
