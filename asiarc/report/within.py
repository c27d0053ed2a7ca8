"""A report without an extract: whatever its own data give again, the values of trials being taken as committed.

`derived` is the report as those values make it: means, intervals, effects and what they are widened for, decisions,
orders, correlations, verdicts as their tier may carry them. Beside it stand run names, declared seeds, sums, and the
tables of figures that say a number again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from asiarc.archive.results import Row
from asiarc.core.candidate import content_address
from asiarc.core.digest import digest
from asiarc.evidence.claims import Claim, Verdict, cap_verdict
from asiarc.evidence.effects import paired_effect
from asiarc.evidence.transfer import rank_correlation
from asiarc.report import studies, tables
from asiarc.report.compare import differences
from asiarc.report.facts import compared, decision_of, in_order, summary, told_apart
from asiarc.report.memory import judged
from asiarc.tasks import deciding, get_task

FIRST_WITH_EXTRACT = 2  # identity version of the first runs whose reports have one


def problems(report: Row, folder: Path) -> Iterator[str]:
    """Whatever a report says that its own data do not give."""
    yield from differences(report, derived(report, folder))
    for row in (*report["campaigns"], *report["studies"], *report["searches"]):
        if row["tier"] != report["tier"]:
            yield f"{row['name']}: of tier {row['tier']!r}, the report of {report['tier']!r}"
    for campaign in report["campaigns"]:
        yield from (f"{campaign['name']}: {problem}" for problem in _campaign(campaign, folder))
    yield from [*_spend(report), *_tables(report, folder)]


# --- what values give -------------------------------------------------------------------------------------------------


def derived(report: Row, folder: Path) -> Row:
    """The report with everything put right that its values of trials, and its tables, give."""
    due = deepcopy(report)
    summarise(due)
    due["claims"]["counts"] = dict(Counter(row["verdict"]["verdict"] for row in due["claims"]["decided"]))
    for row in due["claims"]["decided"]:
        verdict = Verdict(**row["verdict"])
        row["verdict"] = (cap_verdict(verdict, Claim(**row["register"])) if row["register"] else verdict).as_dict()
    cells = {(cell["task"], cell["baseline"]): cell["values"] for cell in due["baselines"]["cells"]}
    for order in due["baselines"]["signatures"]:
        sides = (cells.get((order["task"], order[side]), {}) for side in ("ahead", "behind"))
        order |= compared(*sides, higher_is_better=get_task(order["task"]).higher_is_better)
    for study in due["studies"]:
        study["effects"] = studies.effects(study["mixers"], study["tasks"], study["size_of"])
        study["correlations"] = studies.correlations(study["mixers"], study["tasks"])
    for search in due["searches"]:
        task = studies.searched_on(search)
        search["effects"] = studies.advantages(search["arms"], task) if search["finished"] else []
        for arm in search["arms"] if search["finished"] else ():
            counts = {repeat: float(studies.discovered(gains)[-1]) for repeat, gains in arm["first_rung"].items()}
            arm["discoveries"] = summary(counts)
    for campaign in due["campaigns"]:
        _put_right(campaign, folder)
    return due


def summarise(report: Row) -> None:
    """Every mean and interval of a report from the values beside it, in place."""
    _summarise(report)
    by_name = {study["name"]: study for study in report["studies"]}
    report["signatures"] = [row | studies.signature(row, by_name.get(row["study"])) for row in report["signatures"]]


def _summarise(tree: Any, metric: str = "") -> None:
    """Every mean and interval from the values beside it, in place; by the metric that is named there, or the task's."""
    for inner in tree if isinstance(tree, list) else ():
        _summarise(inner)
    if isinstance(tree, dict):
        for key, inner in tree.items():
            if key == "tasks" and isinstance(inner, dict):
                for task, found in inner.items():
                    _summarise(found, get_task(task).metric)
            else:
                _summarise(inner)
        if {"values", "n", "mean", "low", "high"} <= tree.keys():
            tree |= summary(tree["values"], metric or tree.get("metric", ""))


def _put_right(campaign: Row, folder: Path) -> None:
    campaign["spec"] = campaign["identity"]["spec"]
    for stage in campaign["stages"]:
        stage["rows"] = in_order(stage["rows"], [task["name"] for task in stage["tasks"]])
        if told := stage.get("told_apart"):  # the oldest lack it
            stage["told_apart"] = told_apart(stage["rows"], told["baseline"], told["task"])
        for row in stage.get("memory", ()):  # runs without controls lack it
            row |= judged(row, stage["rows"], row["controls"])
    for gain in campaign["gains"]:
        if gain["effect"] is not None:
            stage = next(stage for stage in campaign["stages"] if stage["stage"] == gain["stage"])
            mine = next(row for row in stage["rows"] if row["address"] == campaign["winner"]["address"])
            other = next(row for row in stage["rows"] if (row["role"], row["name"]) == ("baseline", gain["baseline"]))
            task = next(task for task in stage["tasks"] if task["name"] == gain["task"])
            sides = (row["tasks"][gain["task"]]["values"] for row in (mine, other))
            count = comparisons(campaign, stage)
            effect = paired_effect(*sides, higher_is_better=task["higher_is_better"], num_comparisons=count)
            gain |= {"effect": effect.as_dict(), "decision": decision_of(effect, gain["stage"])}
    rows = [row for file in _files(campaign, "transfer") for row in tables.load(folder / file)]
    for pair in campaign["transfer"]:
        mine = [row for row in rows if (row["from"], row["to"]) == (pair["from"], pair["to"])]
        pair["n"] = len(mine)
        if pair["correlation"] is not None:
            x, y = ([float(row[column]) for row in mine] for column in ("gain_from", "gain_to"))
            pair["correlation"] = rank_correlation(x, y).as_dict()
    if campaign["winner"]:
        campaign["winner"]["address"] = content_address(campaign["winner"]["source"])


def comparisons(campaign: Row, stage: Row) -> int:
    """Entrants times baselines times deciding tasks of a stage, counted again from what the report declares."""
    spec = campaign["spec"]
    tasks = (spec[stage["stage"]] or spec["verify"])["tasks"]
    return max(1, int(stage["entrants"])) * len(spec["baselines"]) * len(deciding(tasks) or tasks)


# --- what stands beside -----------------------------------------------------------------------------------------------


def _campaign(campaign: Row, folder: Path) -> Iterator[str]:
    """The run's name, entrants and seeds as declared, endings as the population's table counts them."""
    identity, ran = campaign["identity"], campaign["ran"]
    if digest(identity) != campaign["run"]:
        yield f"run {campaign['run']} is not the hash of what it declares"
    if identity.get("identity_version", 1) >= FIRST_WITH_EXTRACT:
        yield "a report of such a run has an extract; this one has lost it"
    for stage in campaign["stages"] if campaign["gains"] else ():
        listed = sum(row["role"] != "baseline" for row in stage["rows"])
        most = ran["proposed"] if stage["stage"] == "explore" else listed
        if stage["finished"] and not listed <= stage["entrants"] <= most:
            yield f"{stage['stage']}: {stage['entrants']} entrants, its table has {listed}"
        if stage["finished"] and stage["stage"] != "explore":
            yield from _seeds(campaign, stage)
    for rows in (tables.load(folder / file) for file in _files(campaign, "population")):
        counted, stored = Counter(row["outcome"] for row in rows), Counter(ran["outcomes"])
        if counted != stored + Counter(pending=ran["pending"]) and ran.get("shown", ran["proposed"]) == ran["proposed"]:
            yield f"proposals by outcome: {dict(stored)} of {ran['proposed']}, the table has {dict(counted)}"


def _seeds(campaign: Row, stage: Row) -> Iterator[str]:
    plan = campaign["identity"]["plans"][stage["stage"]]
    due = min((campaign["spec"][stage["stage"]] or campaign["spec"]["verify"])["seeds"], plan["most_seeds"])
    for row in stage["rows"]:
        for task, stored in row["tasks"].items():
            if len(stored["values"]) != due and not row["outcomes"]:
                yield f"{stage['stage']}, {row['name']} on {task}: {len(stored['values'])} seeds, declared are {due}"


def _spend(report: Row) -> Iterator[str]:
    parts = [stage for campaign in report["campaigns"] for stage in campaign["ran"]["spend"]]
    parts += [part["spent"] for part in (*report["studies"], *report["searches"])]
    for key in ("trials", "scored", "cpu_s", "tokens"):  # a trial that several share counts once
        largest, summed = max((part[key] for part in parts), default=0), sum(part[key] for part in parts)
        if not largest <= report["spend"][key] <= summed * (1 + 1e-9) or any(p["scored"] > p["trials"] for p in parts):
            yield f"{report['spend'][key]} {key} in all, the parts come to {summed}"


def _tables(report: Row, folder: Path) -> Iterator[str]:
    for files, kind, rows in tables_of(report):
        again = [{key: "" if cell is None else str(cell) for key, cell in row.items()} for row in rows]
        if [tables.load(folder / file) for file in files] != ([again] if rows else []):
            yield f"{', '.join(files) or kind}: not what report.json says"


def tables_of(report: Row) -> list[tuple[list[str], str, list[Row]]]:
    """Tables of figures that say again what report.json says: their files, kind and rows."""
    due = [(report, "tasks", tables.baselines_by_task(report["baselines"]["cells"]))]
    due += [(one, "effects", tables.effects_of(one["gains"])) for one in report["campaigns"]]
    due += [(one, "forest", studies.forest(one["effects"])) for one in (*report["studies"], *report["searches"])]
    due += [(one, "discoveries", studies.discoveries(one)) for one in report["searches"]]
    due += [(one, "tasks", studies.heat(one)) for one in report["studies"] if len(one["tasks"]) > 1]
    return [(_files(part, kind), kind, rows) for part, kind, rows in due]


def _files(part: Row, kind: str) -> list[str]:
    return [figure["csv"] for figure in part["figures"] if figure["kind"] == kind]
