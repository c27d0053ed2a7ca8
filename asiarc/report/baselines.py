"""The table of the baselines as a person reads it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rich.table import Table as RichTable

from asiarc.report.wording import fixed, interval, order_found, signed

if TYPE_CHECKING:
    from rich.console import Console


def render(console: Console, found: dict[str, Any], tier: str) -> None:
    """Print cells and signatures, as `facts.baseline_facts` gives them."""
    cells = RichTable(
        "task", "baseline", "mean", "95 % interval", "n", "chance", "CPU-s a trial", "parameters", "state bytes",
        "MFLOP a token", title=f"baselines at tier {tier}", box=None,
    )  # fmt: skip
    for cell in found["cells"]:
        within = interval(cell, partial(fixed, metric=cell["metric"]))
        cells.add_row(
            cell["task"], cell["baseline"], fixed(cell["mean"], cell["metric"]), within, str(cell["n"]),
            "" if cell["chance"] is None else f"{cell['chance']:.3f}", f"{cell['cpu_s_per_trial']:.1f}",
            f"{cell['parameters']:,}", f"{cell['state_bytes']:,}", f"{cell['flops_per_token'] / 1e6:.3f}",
        )  # fmt: skip
    console.print(cells)
    orders = RichTable(
        "published order", "task", "paired gain", "95 % interval", "n", "found", title="signatures", box=None
    )
    for row in found["signatures"]:
        if effect := row["effect"]:
            orders.add_row(
                f"{row['ahead']} ahead of {row['behind']}", row["task"], signed(effect["mean"]), interval(effect),
                str(effect["n"]), order_found(effect),
            )  # fmt: skip
    console.print(orders)
