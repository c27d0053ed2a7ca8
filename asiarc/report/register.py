"""The register that a report stands beside: what it asks now, and what the report says it asked then."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asiarc.archive.results import Row
from asiarc.evidence.claims import Claim, load_register


@dataclass(frozen=True)
class Register:
    """The claims of a project's ``reproductions/``, and by id the words that ``former.toml`` says some once had."""

    folder: Path
    claims: Mapping[str, Claim]
    former: Mapping[str, dict[str, Any]]

    @classmethod
    def of(cls, project: Path) -> Register | None:
        """The one of a project, if it has one."""
        folder = project / "reproductions"
        if not (folder / "claims.toml").exists():
            return None
        former = folder / "former.toml"
        words = tomllib.loads(former.read_text(encoding="utf-8")) if former.exists() else {}
        return cls(folder, load_register(folder / "claims.toml"), words)

    def entry(self, claim: str) -> Row | None:
        """What a report tells of a claim, if the register has it."""
        return self.claims[claim].model_dump() if claim in self.claims else None

    def overtaken(self, report: Row) -> list[str]:
        """The claims that a report tells in their former words."""
        told = {row["verdict"]["claim"]: row["register"] for row in report["claims"]["decided"]}
        told |= {entry["id"]: entry for entry in report["claims"]["open"]}
        return [c for c, words in self.former.items() if c in told and told[c] == (self.entry(c) or {}) | words]

    def former_as_today(self, report: Row) -> Row:
        """The report, with what it tells in former words told in today's."""
        moved, now = self.overtaken(report), deepcopy(report)
        for row in now["claims"]["decided"]:
            if row["verdict"]["claim"] in moved:
                row["register"] = self.entry(row["verdict"]["claim"])
        now["claims"]["open"] = [self.entry(e["id"]) if e["id"] in moved else e for e in report["claims"]["open"]]
        return now
