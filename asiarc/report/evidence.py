"""What a claim's decider may look at: the paper's tables, the user's copy of the release, campaigns and baselines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from asiarc.archive.results import CampaignResult
from asiarc.core.errors import EvidenceError

if TYPE_CHECKING:
    from pathlib import Path

    from asiarc.archive.store import Archive
    from asiarc.core.recipe import Tier
    from asiarc.evidence.paper import Paper


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
