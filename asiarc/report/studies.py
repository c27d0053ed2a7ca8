"""Studies, searches and published signatures as the report says them: plain data, from the archive alone.

A study compares with what it declares: an ablation ``sharp, no floor`` with ``sharp``; any other mixer with the human
baselines of the study where they are few, else with the one that sets the size. Mixers were named before anything was
trained, so seeds and text are fresh; intervals are widened for all comparisons on a task.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from asiarc.archive.results import TRIALS, Row, latest_by_campaign, spend_of
from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.evidence.effects import paired_effect
from asiarc.evidence.transfer import rank_correlation
from asiarc.models.baselines import PANEL_NAMES
from asiarc.report.facts import compared, project_folder, summary
from asiarc.studies.arms import DISCOVERY
from asiarc.studies.baselines import NAME as BASELINES_RUN
from asiarc.tasks import get_task

FEW = 3  # baselines that every mixer of a study is compared with; more would drown the table
WIDE = 24  # mixers beyond which a study asks how scores go together, not who is ahead
DRAWN = 12  # mixers up to which a study's learning curves are drawn
CORRELATED = 10  # mixers from which on a study correlates its synthetic tasks with text
STUDY, SEARCH = "study", "arms"  # fields of a run's identity, and the stage that its record is kept under


def latest(archive: Archive, tier: str, field: str) -> dict[str, Row]:
    """The latest finished run of each study (or search) of a tier, else the latest, by name in order."""
    told = [
        (row, field)
        for row in archive.runs(tier=tier)
        if field in row["identity"] and row["campaign"] != BASELINES_RUN  # which are told in a table of their own
    ]
    return latest_by_campaign(archive, told)


# --- studies ----------------------------------------------------------------------------------------------------------


def study_facts(archive: Archive, tier: str) -> list[Row]:
    """Every study of a tier but those of a search's winners, which belong to the search."""
    searches = latest(archive, tier, SEARCH)
    return [_study(archive, row) for name, row in latest(archive, tier, STUDY).items() if name not in searches]


def trained_runs(archive: Archive, tier: str) -> list[str]:
    """The runs that the studies and searches of a tier stand on: their own, every arm's, and those of the winners."""
    searches = latest(archive, tier, SEARCH).values()
    return [row["run"] for row in latest(archive, tier, STUDY).values()] + [
        run for row in searches for run in _explored(row)
    ]


def _explored(row: Row) -> list[str]:
    return [run for mine in row["identity"]["runs"].values() for run in mine]


def _study(archive: Archive, row: Row) -> Row:
    declared, record = row["identity"]["study"], row["record"] or {"outcomes": {}, "rates": {}, "probes": {}}
    trials = [t for t in archive.rows(TRIALS, row["run"]) if "tuning" not in t["seed"]]
    tasks = [_task(name, trials) for name in declared["tasks"]]
    mixers = [_mixer(name, address, trials, record, declared) for name, address in declared["mixers"].items()]
    return {
        "name": row["campaign"], "run": row["run"], "tier": row["tier"], "created_at": row["created_at"],
        "finished": row["record"] is not None, "provenance": row["provenance"],
        "seeds": declared["seeds"], "size_of": declared["size_of"], "gated": declared["gated"],
        "planned": len(mixers) * declared["seeds"] * len(tasks), "trials": len(trials),
        "scored": sum(t["outcome"] == "scored" for t in trials), "spent": spend_of(archive, [row["run"]]),
        "tasks": tasks, "mixers": mixers,
        "effects": effects(mixers, tasks, declared["size_of"]), "correlations": correlations(mixers, tasks),
    }  # fmt: skip


def _task(name: str, trials: Sequence[Row]) -> Row:
    known = get_task(name)
    steps = max((t["steps"] for t in trials if t["task"] == name), default=None)
    return {"name": name, "metric": known.metric, "higher_is_better": known.higher_is_better,
            "chance": known.chance, "steps": steps}  # fmt: skip


def _mixer(name: str, address: str, trials: Sequence[Row], record: Row, declared: Row) -> Row:
    tasks, mine = declared["tasks"], [t for t in trials if t["address"] == address]
    values = {
        task: {t["seed"]: t["value"] for t in mine if t["task"] == task and t["outcome"] == "scored"} for task in tasks
    }
    outcome = record["outcomes"].get(name, {})
    seen = [found for by_seed in record["probes"].get(name, {}).values() for found in by_seed.values()]
    quantities = sorted({key for found in seen for key, value in found.items() if isinstance(value, float)})
    return {
        "name": name, "address": address, "baseline": name in PANEL_NAMES,
        "rejected": outcome.get("gate") or "", "admitted": outcome.get("kind") == "scored",
        "rate": next((t["learning_rate"] for t in mine if t["task"] == tasks[0]), None),
        "edge": end_of_grid(record["rates"].get(name), declared["learning_rates"]),
        "parameters": next((t["parameters"] for t in mine if t["parameters"]), None),
        "failed": dict(Counter(t["outcome"] for t in mine if t["outcome"] != "scored")),
        "tasks": {task: summary(found, get_task(task).metric) for task, found in values.items()},
        "probes": {key: summary({str(i): found[key] for i, found in enumerate(seen) if key in found})
                   for key in quantities},
    }  # fmt: skip


def end_of_grid(rate: float | None, grid: Sequence[float]) -> str:
    """Which end of its grid a chosen learning rate is, if either: beyond it a better one may lie."""
    if rate is None or len(grid) < 2:
        return ""
    return {min(grid): "lowest", max(grid): "highest"}.get(rate, "")


def references(name: str, names: Sequence[str], size_of: str | None) -> list[str]:
    """The mixers that one of a study is compared with; see the module."""
    if len(names) > WIDE:
        return []
    whole = name.partition(",")[0]
    if whole != name and whole in names:
        return [whole]
    baselines = [other for other in names if other in PANEL_NAMES]
    found = baselines if 0 < len(baselines) <= FEW else [size_of or names[0]]
    return [] if name in found else found


def effects(mixers: Sequence[Row], tasks: Sequence[Row], size_of: str | None) -> list[Row]:
    """Every comparison of a study on every task: paired by seed, or why it cannot be made."""
    by_name = {mixer["name"]: mixer for mixer in mixers}
    pairs = [(name, other) for name in by_name for other in references(name, list(by_name), size_of)]
    rows = []
    for task in tasks:
        for ahead, behind in pairs:
            sides = (by_name[name]["tasks"][task["name"]]["values"] for name in (ahead, behind))
            found = compared(*sides, higher_is_better=task["higher_is_better"], num_comparisons=len(pairs))
            if found["effect"] is None and (rejected := by_name[ahead]["rejected"]):
                found["problem"] = f"rejected by {rejected}"
            rows.append({"ahead": ahead, "behind": behind, "task": task["name"], **found})
    return rows


def correlations(mixers: Sequence[Row], tasks: Sequence[Row]) -> list[Row]:
    """Rank correlation of text with the mean accuracy on the other tasks, then with each, where a study is wide."""
    names = [task["name"] for task in tasks]
    others = [name for name in names if name != "text"]
    points = scatter(mixers, others) if "text" in names and len(others) > 1 else []
    if len(points) < CORRELATED:
        return []
    rows = []
    for column in ("mean", *others):
        row: Row = {"task": "mean of all" if column == "mean" else column, "correlation": None, "problem": ""}
        try:
            found = rank_correlation([-p["text"] for p in points], [p[column] for p in points])
        except EvidenceError as error:
            rows.append({**row, "problem": str(error)})
        else:
            rows.append({**row, "correlation": found.as_dict()})
    return rows


def scatter(mixers: Sequence[Row], others: Sequence[str]) -> list[Row]:
    """Mixers scored on all tasks: bits a byte on text, accuracy on each other task, and their mean."""
    rows = []
    for mixer in mixers:
        means = {task: mixer["tasks"][task]["mean"] for task in ("text", *others)}
        if None not in means.values():
            mean = sum(means[task] for task in others) / len(others)
            rows.append(
                {"mixer": mixer["name"], "role": "baseline" if mixer["baseline"] else "candidate"}
                | means
                | {"mean": mean}
            )
    return rows


# --- searches ---------------------------------------------------------------------------------------------------------


def search_facts(archive: Archive, tier: str) -> list[Row]:
    """Every search of a tier: its arms side by side, the first against each other one."""
    measured = latest(archive, tier, STUDY)
    return [_search(archive, row, measured.get(name)) for name, row in latest(archive, tier, SEARCH).items()]


def _search(archive: Archive, row: Row, measured: Row | None) -> Row:
    declared, record = row["identity"][SEARCH], row["record"]
    runs = row["identity"]["runs"]
    done = {arm: sum(archive.stage_result(run, "explore") is not None for run in mine) for arm, mine in runs.items()}
    found = {
        "name": row["campaign"], "run": row["run"], "tier": row["tier"], "created_at": row["created_at"],
        "finished": record is not None, "provenance": row["provenance"], "repeats": declared["repeats"],
        "candidates": declared["candidates"], "seeds": declared["seeds"],
        "task": searched_on(declared),
        "spent": spend_of(archive, [*_explored(row), *([measured["run"]] if measured else [])]),
    }  # fmt: skip
    if record is None:
        return {**found, "arms": [{"arm": arm, "done": count} for arm, count in done.items()], "effects": []}
    arms = [
        {"arm": arm, "done": done[arm], "gain": summary(gains), "cpu_s": record["cpu_s"][arm],
         "first_rung": record["first_rung"][arm],
         "discoveries": summary({repeat: float(discovered(record["first_rung"][arm][repeat])[-1])
                                 for repeat in gains})}
        for arm, gains in record["gains"].items()
    ]  # fmt: skip
    return {**found, "arms": arms, "effects": advantages(arms, found["task"])}


def searched_on(search: Row) -> str:
    """The text that a search is judged on; before searches said so, it was `text`."""
    return str(search.get("task", "text"))


def discovered(gains: Sequence[float | None]) -> list[int]:
    """Proposals so far that gain `DISCOVERY` on the first rung, after each proposal."""
    return list(accumulate(int(gain is not None and gain > DISCOVERY) for gain in gains)) or [0]


def per_scored(arm: Row) -> str:
    """An arm's discoveries over all repeats, of the candidates that were scored: ``96 of 117 (0.82)``."""
    gains = [gain for repeat in arm["first_rung"].values() for gain in repeat if gain is not None]
    hits = sum(gain > DISCOVERY for gain in gains)
    return f"{hits} of {len(gains)}" + (f" ({hits / len(gains):.2f})" if gains else "")


def advantages(arms: Sequence[Row], task: str) -> list[Row]:
    """How much more the first arm's winners gain than each other's, paired by repeat."""
    first, *others = arms
    rows = []
    for arm in others:
        effect = paired_effect(
            first["gain"]["values"], arm["gain"]["values"], higher_is_better=True, num_comparisons=len(others)
        )
        rows.append({"ahead": first["arm"], "behind": arm["arm"], "task": task, "effect": effect.as_dict(),
                     "problem": ""})  # fmt: skip
    return rows


# --- published signatures ---------------------------------------------------------------------------------------------


def signature_facts(studies: Sequence[Row], folder: Path) -> list[Row]:
    """The published numbers of ``reproductions/data/signatures.toml``, with ours where the study has run."""
    path = project_folder(folder) / "reproductions" / "data" / "signatures.toml"
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["signature"] if path.exists() else []
    by_name = {study["name"]: study for study in studies}
    return [{**row, **signature(row, by_name.get(row["study"]))} for row in rows]


def signature(row: Row, study: Row | None) -> Row:
    """Our side of one published number: a mean, a paired gain or a rank correlation, with what it is measured in."""
    if study is None:
        return {"ours": None, "unit": "", "problem": f"study {row['study']} has not run at this tier"}
    if "task" not in row:
        found = next((r for r in study["correlations"] if r["task"] == "mean of all"), None)
        ours = found and found["correlation"]
        return _side(ours and {**ours, "mean": ours["rho"]}, "rank correlation", study)
    task = next(task for task in study["tasks"] if task["name"] == row["task"])
    unit = "bits a byte" if task["metric"] == "bits_per_byte" else task["metric"]
    if "behind" not in row:
        mixer = next(mixer for mixer in study["mixers"] if mixer["name"] == row["mixer"])
        return _side(mixer["tasks"][row["task"]], unit, study)
    values = [
        next(mixer for mixer in study["mixers"] if mixer["name"] == name)["tasks"][row["task"]]["values"]
        for name in (row["mixer"], row["behind"])
    ]
    found = compared(*values, higher_is_better=task["higher_is_better"])
    if found["effect"] is None:
        return {"ours": None, "unit": "", "problem": found["problem"]}
    return _side(found["effect"], f"gain in {unit}", study)


def _side(ours: Row | None, unit: str, study: Row) -> Row:
    if ours is None or ours["mean"] is None:
        problem = "not scored" if study["finished"] else f"study {study['name']} is not finished"
        return {"ours": None, "unit": unit, "problem": problem}
    return {"ours": {key: ours[key] for key in ("mean", "low", "high", "n")}, "unit": unit, "problem": ""}


# --- tables of figures ------------------------------------------------------------------------------------------------


def forest(rows: Sequence[Row]) -> list[Row]:
    """Effects with their intervals, as the forest plot draws them."""
    wanted = ("mean", "low", "high", "n", "num_comparisons", "p_value", "test")
    return [
        {key: row[key] for key in ("ahead", "behind", "task")} | {key: row["effect"][key] for key in wanted}
        for row in rows
        if row["effect"]
    ]


def heat(study: Row) -> list[Row]:
    """Mixers by tasks."""
    return [
        {"baseline": mixer["name"], "task": task["name"], "metric": task["metric"]}
        | {"higher_is_better": task["higher_is_better"]}
        | {key: mixer["tasks"][task["name"]][key] for key in ("mean", "low", "high", "n")}
        for task in study["tasks"]
        for mixer in study["mixers"]
        if mixer["tasks"][task["name"]]["mean"] is not None
    ]


def curves(archive: Archive, study: Row) -> list[Row]:
    """Loss along training on text, of a study of few mixers."""
    if len(study["mixers"]) > DRAWN:
        return []
    named = {mixer["address"]: mixer for mixer in study["mixers"]}
    found = archive.rows(
        "SELECT t.address, t.seed, t.curve FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ? "
        "AND t.task = 'text' AND t.outcome = 'scored' AND t.seed NOT LIKE '%tuning%' ORDER BY t.address, t.seed",
        study["run"],
    )
    return [
        {"stage": "study", "task": "text", "mixer": named[t["address"]]["name"], "address": t["address"],
         "role": "baseline" if named[t["address"]]["baseline"] else "candidate", "seed": t["seed"], "step": step,
         "train_bits": train, "held_out_bits": held_out}
        for t in found for step, train, held_out in json.loads(t["curve"] or "[]")
    ]  # fmt: skip


def discoveries(search: Row) -> list[Row]:
    """Discoveries so far of every arm and repeat, proposal by proposal."""
    return [
        {"arm": arm["arm"], "repeat": repeat, "number": number, "discoveries": count}
        for arm in search["arms"]
        for repeat, gains in arm.get("first_rung", {}).items()
        for number, count in enumerate(discovered(gains), 1)
    ]
