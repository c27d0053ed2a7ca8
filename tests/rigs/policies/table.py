"""The recorded table that every policy searches: candidates x rungs x seeds, and what each candidate costs.

Losses are held-out bits a byte at four points of one training run (`record` beside this file writes them), so a rung is
a checkpoint of the full schedule, not a schedule of its own. One JSON file, a candidate a line.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asiarc.core.errors import EvidenceError


@dataclass(frozen=True)
class Entry:
    """One candidate; the first of a table is `start_from`, which gains are measured against."""

    address: str
    name: str
    parent: str  # the address it was derived from; empty for start_from
    choices: dict[str, Any]  # the genome's choices that differ from the default
    parameters: int  # of the whole model, matched within 2 %
    state_bytes: int  # of the whole model, a sequence
    flops_per_token: float  # forward
    train_cpu_s: float  # mean over seeds; others may have used the machine
    bits: list[list[float]]  # held-out bits a byte, [rung][seed]


@dataclass(frozen=True)
class Table:
    """Everything recorded: `steps` of each rung, the entries, what was left out by outcome, and where it comes from."""

    steps: tuple[int, ...]
    entries: tuple[Entry, ...]
    left_out: dict[str, int]
    provenance: dict[str, Any]

    @property
    def seeds(self) -> int:
        """Recorded seeds, the same for every entry and rung."""
        return len(self.entries[0].bits[0])

    def write(self, path: Path) -> None:
        """As JSON, one candidate a line."""
        head = {"steps": list(self.steps), "left_out": self.left_out, "provenance": self.provenance}
        lines = [json.dumps(asdict(entry), sort_keys=True) for entry in self.entries]
        text = json.dumps(head, indent=1, sort_keys=True)[:-2] + ',\n "entries": [\n' + ",\n".join(lines) + "\n]}\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @classmethod
    def read(cls, path: Path) -> Table:
        """A written table; `EvidenceError` where there is none, or its rows are not of one shape."""
        try:
            data = json.loads(path.read_text())
            entries = tuple(Entry(**row) for row in data["entries"])
            table = cls(tuple(data["steps"]), entries, data["left_out"], data["provenance"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EvidenceError(
                f"{path} is no recorded table ({error!r}); write one with: python -m tests.rigs policies record"
            ) from error
        shapes = {tuple(len(row) for row in entry.bits) for entry in entries}
        if shapes != {(table.seeds,) * len(table.steps)}:
            raise EvidenceError(f"{path}: every candidate needs every rung and seed, found shapes {sorted(shapes)}")
        return table
