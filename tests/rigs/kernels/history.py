"""The history of yardstick ratios: pytest-benchmark's files under ``results/benchmarks``, and a figure of them.

Times of different machines and days do not compare; ratios to a yardstick that ran between them in the same process
do.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from asiarc.report.figures import INK, PALETTE, SETTINGS, THEME

FOLDER = Path("results/benchmarks")


def files(folder: Path = FOLDER) -> list[Path]:
    """The files of all records, a folder a machine."""
    return sorted(folder.glob("*/[0-9]*.json"))


def records(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All records, oldest first."""
    found = [json.loads(path.read_text()) for path in files(folder)]
    return sorted(found, key=lambda record: str(record["datetime"]))


def prune(path: Path) -> int:
    """Drops what was not measured from a new record (it was begun and given up); the benchmarks that are left."""
    record = json.loads(path.read_text())
    record["benchmarks"] = [bench for bench in record["benchmarks"] if bench["extra_info"].get("ratios")]
    if record["benchmarks"]:
        path.write_text(json.dumps(record, indent=1) + "\n")
    else:
        path.unlink()
    return len(record["benchmarks"])


def rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for every ratio of every record: number of the record, commit, operator, yardstick, ratio and bounds."""
    return [
        {"record": i, "commit": record["commit_info"]["id"][:9], "operator": bench["param"], "yardstick": name, **ratio}
        for i, record in enumerate(found)
        for bench in record["benchmarks"]
        for name, ratio in bench["extra_info"]["ratios"].items()
    ]


def figure(found: list[dict[str, Any]]) -> str:
    """SVG: ratio to each yardstick over the records, a panel a yardstick, with intervals."""
    import matplotlib
    from matplotlib.figure import Figure

    by_yardstick: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows(found):
        by_yardstick[row["yardstick"]][row["operator"]].append(row)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        drawn = Figure(figsize=(7.0, 3.0 * max(1, len(by_yardstick))))
        panels = drawn.subplots(max(1, len(by_yardstick)), 1, squeeze=False)[:, 0]
        for axes, (yardstick, operators) in zip(panels, sorted(by_yardstick.items()), strict=True):
            for i, (operator, points) in enumerate(sorted(operators.items())):
                ratio = [point["ratio"] for point in points]
                off = [[p["ratio"] - p["low"] for p in points], [p["high"] - p["ratio"] for p in points]]
                x = [point["record"] + 0.02 * i for point in points]
                axes.errorbar(x, ratio, off, marker="o", ms=3, color=PALETTE[i % len(PALETTE)], label=operator)
            axes.set(yscale="log", title=f"time over {yardstick}", xlabel="record", ylabel="ratio")
            axes.set_xticks(range(len(found)), [record["commit_info"]["id"][:9] for record in found])
            axes.legend(ncols=3, fontsize=6.5)
        text = io.StringIO()
        drawn.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor").replace(">", f">{THEME}", 1)
