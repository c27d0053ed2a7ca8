"""What was fixed of a claim before its evidence was looked at; a table that an archive has from the first one on."""

from __future__ import annotations

from collections.abc import Mapping

from asiarc.archive.cells import load_cell
from asiarc.archive.store import Archive, _now
from asiarc.core.digest import digest

_TABLE = """
    CREATE TABLE IF NOT EXISTS registrations (
        claim TEXT NOT NULL, tier TEXT NOT NULL, registered_at TEXT NOT NULL, parts TEXT NOT NULL,
        PRIMARY KEY (claim, tier)
    )
"""
Parts = Mapping[str, str]


class Registrations:
    """Of each claim at a tier, the hashes of what decides it (its entry, its decider's file, its campaigns) and when
    they were first seen: the first registration stands, whatever changes later."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def keep(self, tier: str, parts: Mapping[str, Parts]) -> None:
        """Register claims by their parts, those that are not yet."""
        self.archive._execute(_TABLE)
        known = {row["claim"] for row in self.archive.rows("SELECT claim FROM registrations WHERE tier = ?", tier)}
        for claim, some in parts.items():
            if claim not in known:
                row = {"claim": claim, "tier": tier, "registered_at": _now(), "parts": dict(some)}
                self.archive._insert("registrations", row, replace=False)

    def told(self, claim: str, tier: str, now: Parts) -> str:
        """When a claim was registered and under which hash, and which of its parts are others by now."""
        (row,) = self.archive.rows("SELECT * FROM registrations WHERE claim = ? AND tier = ?", claim, tier)
        before = load_cell(row["parts"])
        changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
        since = f"changed since: {', '.join(changed)}" if changed else "unchanged"
        return f"{row['registered_at']} as {digest(before)}; {since}"
