"""The table of the baselines as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table as RichTable

from asiarc.core.errors import EvidenceError
from asiarc.studies.signatures import SIGNATURES, Cell, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console


def signature_rows(table: Table) -> list[dict[str, Any]]:
    """Each published order that the table can speak to: the paired effect, and whether its interval is above zero."""
    rows = []
    for ahead, behind, task in SIGNATURES:
        try:
            effect = table.signature(ahead, behind, task)
        except EvidenceError:
            continue
        rows.append(
            {"ahead": ahead, "behind": behind, "task": task, "holds": effect.low > 0, **effect.as_dict()}
        )
    return rows


def render(console: Console, cells: Sequence[Cell], signatures: Sequence[dict[str, Any]], tier: str) -> None:
    """Print both tables."""
    shown = RichTable(
        "task",
        "baseline",
        "mean",
        "95 % interval",
        "n",
        "chance",
        "CPU-s a trial",
        "parameters",
        "state bytes",
        "MFLOP a token",
        title=f"baselines at tier {tier}",
        box=None,
    )
    for cell in cells:
        value = cell.value
        shown.add_row(
            cell.task,
            cell.baseline,
            f"{value.mean:.4f}",
            f"[{value.low:.4f}, {value.high:.4f}]",
            str(value.n),
            "" if cell.chance is None else f"{cell.chance:.3f}",
            f"{cell.cpu_s:.1f}",
            f"{cell.parameters:,}",
            f"{cell.state_bytes:,}",
            f"{cell.flops_per_token / 1e6:.3f}",
        )
    console.print(shown)
    found = RichTable(
        "published order",
        "task",
        "paired gain",
        "95 % interval",
        "n",
        "interval above zero",
        title="signatures",
        box=None,
    )
    for row in signatures:
        found.add_row(
            f"{row['ahead']} ahead of {row['behind']}",
            row["task"],
            f"{row['mean']:+.4f}",
            f"[{row['low']:+.4f}, {row['high']:+.4f}]",
            str(row["n"]),
            "yes" if row["holds"] else "no",
        )
    console.print(found)
