"""The data of every figure as rows for a CSV file; figures are drawn from these rows and nothing else.

Each function gives the rows of one figure of one campaign, or none where there is nothing to draw yet.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asiarc.analyst.compare import tags_of
from asiarc.archive.results import CampaignResult, Row
from asiarc.core.recipe import StageName

CURVE_CANDIDATES = 5  # candidates whose curves are drawn beside the baselines
POOL = 10  # leading candidates whose mean gain is followed along the search; at most a quarter of the scored


def curves(reading: CampaignResult, facts: Row) -> list[Row]:
    """Loss along training on the first task that decides, in the last stage that trained several mixers."""
    for stage in ("verify", "explore"):
        trials = reading.stage_trials(stage)
        if not trials:
            continue
        task = reading.ranking_tasks(stage)[0]
        shown = _shown(facts, stage)
        role = {row["address"]: row["role"] for row in shown}
        keys = {t["key"]: t for t in trials if t["task"] == task and t["address"] in role}
        return [
            {
                "stage": stage,
                "task": task,
                "mixer": reading.names[t["address"]],
                "address": t["address"],
                "role": role[t["address"]],
                "seed": t["seed"],
                "step": step,
                "train_bits": train,
                "held_out_bits": held_out,
            }
            for key, t in keys.items()
            for step, train, held_out in _curve(reading, key)
        ]
    return []


def _shown(facts: Row, stage: StageName) -> list[Row]:
    rows: list[Row] = next((s["rows"] for s in facts["stages"] if s["stage"] == stage), [])
    candidates = [row for row in rows if row["role"] != "baseline"][:CURVE_CANDIDATES]
    return candidates + [row for row in rows if row["role"] == "baseline"]


def _curve(reading: CampaignResult, key: str) -> list[list[float]]:
    found = reading.archive.rows("SELECT curve FROM trials WHERE key = ?", key)
    return json.loads(found[0]["curve"] or "[]") if found else []


def population(reading: CampaignResult, facts: Row) -> list[Row]:
    """Every proposal: how it ended, its gain, its size, the CPU-seconds spent on it; who made it, if others did."""
    spent: dict[str, float] = {}
    for trial in reading.held_trials:
        if trial["used_in"] == "explore":
            spent[trial["address"]] = spent.get(trial["address"], 0.0) + trial["cpu_s"]
    rows: list[Row] = []
    for proposal in reading.proposals:
        ending = reading.endings.get(proposal["number"], {"outcome": "pending", "gate": "", "rung": -1, "gain": None})
        address = proposal["address"]
        rows.append(
            {
                "number": proposal["number"],
                "generation": proposal["generation"],
                "name": proposal["name"],
                "address": address,
                "outcome": ending["outcome"],
                "gate": ending["gate"],
                "rung": ending["rung"],
                "gain": ending["gain"],
                "mixer_parameters": reading.measures.get(address, {}).get("parameters"),
                "cpu_s": round(spent.get(address, 0.0), 3),
            }
            | ({"author": reading.authors.get(address, "")} if reading.authors else {})
        )
    return rows


def search(reading: CampaignResult, facts: Row) -> list[Row]:
    """The search as it went on: CPU-seconds, candidates ahead of the start and the leading ones, all so far."""
    rows: list[Row] = []
    leading: list[float] = []
    scored = sum(row["count"] for row in reading.endings_by_kind if row["outcome"] == "scored")
    pool, shown = max(1, min(POOL, scored // 4)), {row["number"]: row["address"] for row in reading.proposals}
    cpu_s, ahead = 0.0, 0
    for row in reading.course():
        cpu_s += row["cpu_s"]
        if row["gain"] is not None:
            ahead += row["gain"] > 0
            leading = sorted([*leading, row["gain"]], reverse=True)[:pool]
        if row["number"] in shown:
            measures = reading.measures.get(shown[row["number"]], {})
            mean = sum(leading) / pool if len(leading) == pool else None
            rows.append(
                {"number": row["number"], "cpu_s": round(cpu_s, 3), "ahead": ahead, "pool_gain": mean}
                | {"mixer_parameters": measures.get("parameters")}
            )
    return rows if leading else []


def components(reading: CampaignResult, facts: Row) -> list[Row]:
    """How often each choice of the grammar occurs in the leading quarter of the scored candidates and in the rest."""
    scored = [row for row in reading.endings.values() if row["outcome"] == "scored"]
    scored.sort(key=lambda row: (-row["rung"], -row["gain"], row["number"]))
    cut = len(scored) // 4
    if cut < 2:
        return []
    counts = [Counter[str](), Counter[str]()]
    for place, row in enumerate(scored):
        found = reading.archive.rows("SELECT genome FROM candidates WHERE address = ?", row["address"])
        counts[place >= cut].update(tags_of(json.loads(found[0]["genome"] or "{}")))
    return [
        {"choice": tag, "leading": counts[0][tag], "of_leading": cut}
        | {"rest": counts[1][tag], "of_rest": len(scored) - cut}
        for tag in sorted(counts[0].keys() | counts[1].keys())
    ]


def lineage(reading: CampaignResult, facts: Row) -> list[Row]:
    """Every scored proposal with its parent; -1 is the design that the search starts from."""
    scored = {number: row for number, row in reading.endings.items() if row["outcome"] == "scored"}
    line = {link["address"] for link in (facts["winner"] or {"lineage": []})["lineage"]}
    rows = []
    for proposal in reading.proposals:
        number, address = proposal["number"], proposal["address"]
        if number not in scored:
            continue
        parent = reading.numbers.get(proposal["parents"][0], -1) if proposal["parents"] else -1
        role = "winner" if address == reading.winner_address else "ancestor of the winner" if address in line else ""
        rows.append(
            {
                "number": number,
                "parent": parent if parent in scored and parent < number else -1,
                "name": proposal["name"],
                "gain": scored[number]["gain"],
                "role": role,
            }
        )
    root = {"number": -1, "parent": "", "name": reading.spec["start_from"], "gain": 0.0, "role": "start"}
    return [root, *rows] if rows else []


def transfer(reading: CampaignResult, facts: Row) -> list[Row]:
    """The gains behind each rank correlation: one row a mixer and pair of levels."""
    levels, baselines = reading.levels, set(reading.baselines.values())
    return [
        {"from": pair["from"], "to": pair["to"], "mixer": reading.names.get(address, address), "address": address,
         "role": "baseline" if address in baselines else "candidate",
         "gain_from": levels[pair["from"]][address], "gain_to": levels[pair["to"]][address]}
        for pair in facts["transfer"] for address in sorted(levels[pair["from"]].keys() & levels[pair["to"]].keys())
    ]  # fmt: skip


def effects(reading: CampaignResult, facts: Row) -> list[Row]:
    """The winner's gains with their intervals."""
    return effects_of(facts["gains"])


def effects_of(gains: Sequence[Row]) -> list[Row]:
    """Gains with their intervals, those that have one."""
    wanted = ("mean", "low", "high", "n", "level", "num_comparisons", "p_value", "test")
    return [
        {key: row[key] for key in ("stage", "fresh", "task", "baseline")}
        | {key: row["effect"][key] for key in wanted}
        | {"decision": row["decision"]}
        for row in gains
        if row["effect"]
    ]


FIGURE_TABLES: dict[str, Callable[[CampaignResult, Row], list[Row]]] = {
    "effects": effects,
    "curves": curves,
    "population": population,
    "lineage": lineage,
    "search": search,
    "components": components,
    "transfer": transfer,
}


def baselines_by_task(cells: Sequence[Row]) -> list[Row]:
    """Every baseline on every task, without the values by seed."""
    return [{key: value for key, value in cell.items() if key != "values"} for cell in cells]


# --- files ------------------------------------------------------------------------------------------------------------


def slug(name: str) -> str:
    """A campaign's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name) or "_"


def save(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows as CSV; a missing number is an empty field, a text that a spreadsheet would run as a formula is quoted."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        value = "".join(c if c.isprintable() else " " for c in value)
        return "'" + value if value.startswith(("=", "+", "-", "@")) else value
    return value


def load(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float | None:
    """A field that holds a number, or None where it is empty."""
    return float(text) if text else None
