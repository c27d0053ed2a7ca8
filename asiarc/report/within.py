"""A report without an extract: what its own data give again.

Means and intervals of the stage tables, the winner's gains, what they are widened for and what `decide` makes of them,
effects and rank correlations of studies and arms, those of the transfer table, counts from the population table, sums
of the spend, orders, seeds as declared, the tables of figures that repeat numbers, the winner's content address and
every run's name. The values of trials are taken as they are committed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asiarc.archive.results import Row
from asiarc.core.candidate import content_address
from asiarc.core.digest import digest
from asiarc.core.errors import EvidenceError
from asiarc.evidence.claims import Claim, Verdict, cap_verdict
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.evidence.transfer import rank_correlation
from asiarc.report import studies, tables
from asiarc.report.facts import decision_of, in_order, summary, told_apart
from asiarc.report.tables import load, number
from asiarc.tasks import get_task

FIRST_WITH_EXTRACT = 2  # identity version


def problems(report: Row, folder: Path) -> Iterator[str]:
    """Whatever a report says that its own data do not give."""
    yield from [*_frame(report), *_spend(report), *_baselines(report["baselines"]), *_tables(report, folder)]
    for row in report["claims"]["decided"]:
        yield from _claim(row)
    yield from [*_studies(report["studies"]), *_searches(report["searches"]), *_signatures(report)]
    for campaign in report["campaigns"]:
        yield from (f"{campaign['name']}: {problem}" for problem in _campaign(campaign, folder))


def _frame(report: Row) -> Iterator[str]:
    """Every run under the hash of what it declares, at the report's tier, and of a kind that had no extract."""
    for row in (*report["campaigns"], *report["studies"], *report["searches"]):
        if row["tier"] != report["tier"]:
            yield f"{row['name']}: of tier {row['tier']!r}, the report of {report['tier']!r}"
    claims = [row["verdict"]["claim"] for row in report["claims"]["decided"]]
    yield from (f"{claim}: decided more than once" for claim, times in Counter(claims).items() if times > 1)
    counts = dict(Counter(row["verdict"]["verdict"] for row in report["claims"]["decided"]))
    if counts != report["claims"]["counts"]:
        yield f"verdicts: counted {report['claims']['counts']}, there are {counts}"
    for campaign in report["campaigns"]:
        identity = campaign["identity"]
        said = {key: campaign[key] for key in ("tier", "seed", "spec")}
        if digest(identity) != campaign["run"] or said != {key: identity[key] for key in said}:
            yield f"{campaign['name']}: run {campaign['run']} is not the hash of what it declares"
        if identity.get("identity_version", 1) >= FIRST_WITH_EXTRACT:
            yield f"{campaign['name']}: a report of such a run has an extract; this one has lost it"


def _tables(report: Row, folder: Path) -> Iterator[str]:
    """Tables of figures that say again what report.json says."""
    due = [(report["figures"], "tasks", tables.baselines_by_task(report["baselines"]["cells"]))]
    due += [(one["figures"], "effects", tables.effects_of(one["gains"])) for one in report["campaigns"]]
    due += [(one["figures"], "forest", studies.forest(one["effects"])) for one in report["studies"]]
    due += [(one["figures"], "forest", studies.forest(one["effects"])) for one in report["searches"]]
    due += [(one["figures"], "discoveries", studies.discoveries(one)) for one in report["searches"]]
    due += [(one["figures"], "tasks", studies.heat(one)) for one in report["studies"] if len(one["tasks"]) > 1]
    for figures, kind, rows in due:
        files = [figure["csv"] for figure in figures if figure["kind"] == kind]
        again = [{key: "" if cell is None else str(cell) for key, cell in row.items()} for row in rows]
        if [load(folder / file) for file in files] != ([again] if rows else []):
            yield f"{', '.join(files) or kind}: not what report.json says"


def _claim(row: Row) -> Iterator[str]:
    try:
        verdict = Verdict(**row["verdict"])
        claim = Claim(**row["register"]) if row["register"] else None
        if claim is not None and cap_verdict(verdict, claim).verdict != verdict.verdict:
            yield f"{claim.id}: {verdict.verdict!r} is more than the {verdict.tier} tier can carry"
    except (EvidenceError, ValueError) as error:
        yield f"{row['verdict'].get('claim')}: {error}"


def _spend(report: Row) -> Iterator[str]:
    for campaign in report["campaigns"]:
        for stage in campaign["ran"]["spend"]:
            if stage["scored"] > stage["trials"] or stage["cpu_s"] < 0:
                counted = f"{stage['scored']} scored of {stage['trials']} trials"
                yield f"{campaign['name']}: {stage['stage']} counts {counted}"
    summed = sum(stage["trials"] for campaign in report["campaigns"] for stage in campaign["ran"]["spend"])
    summed += sum(part["spent"]["trials"] for part in (*report["studies"], *report["searches"]))
    if report["spend"]["trials"] > summed:
        yield f"{report['spend']['trials']} trials in all, {summed} over the stages"


def _baselines(baselines: Row) -> Iterator[str]:
    cells = {(cell["task"], cell["baseline"]): cell for cell in baselines["cells"]}
    for (task, name), cell in cells.items():
        yield from _differences(f"baseline {name} on {task}", cell, summary(cell["values"]))
    for order in baselines["signatures"]:
        if order["effect"] is not None:
            ahead, behind = (cells[order["task"], order[side]] for side in ("ahead", "behind"))
            found = paired_effect(
                ahead["values"], behind["values"], higher_is_better=ahead["higher_is_better"], num_comparisons=1
            )
            yield from _differences(
                f"{order['ahead']} against {order['behind']} on {order['task']}", order["effect"], found.as_dict()
            )


def _studies(found: list[Row]) -> Iterator[str]:
    for study in found:
        where = f"study {study['name']}"
        for mixer in study["mixers"]:
            for what, stored in (mixer["tasks"] | mixer["probes"]).items():
                yield from _differences(f"{where}, {mixer['name']}: {what}", stored, summary(stored["values"]))
        yield from _effects(where, study["effects"], studies.effects(study["mixers"], study["tasks"], study["size_of"]))
        again = studies.correlations(study["mixers"], study["tasks"])
        if _plain(again) != _plain(study["correlations"]):
            yield f"{where}: its scores give other rank correlations"


def _searches(found: list[Row]) -> Iterator[str]:
    for search in found:
        where = f"search {search['name']}"
        for arm in search["arms"] if search["finished"] else ():
            counts = {r: float(studies.discovered(gains)[-1]) for r, gains in arm["first_rung"].items()}
            yield from _differences(f"{where}, {arm['arm']}", arm["gain"], summary(arm["gain"]["values"]))
            yield from _differences(f"{where}, {arm['arm']}: discoveries", arm["discoveries"], summary(counts))
        yield from _effects(where, search["effects"], studies.advantages(search["arms"]) if search["finished"] else [])


def _effects(where: str, stored: list[Row], again: list[Row]) -> Iterator[str]:
    if len(stored) != len(again):
        yield f"{where}: {len(stored)} effects, its scores give {len(again)}"
    for row, other in zip(stored, again, strict=False):
        pair = f"{where}: {row['ahead']} over {row['behind']} on {row['task']}"
        if (row["effect"] is None) != (other["effect"] is None):
            yield f"{pair}: its scores give {other['effect'] or other['problem']}"
        elif other["effect"] is not None:
            yield from _differences(pair, row["effect"], other["effect"])


def _signatures(report: Row) -> Iterator[str]:
    by_name = {study["name"]: study for study in report["studies"]}
    for row in report["signatures"]:
        again = studies.signature(row, by_name.get(row["study"]))
        if _plain(again) != _plain({key: row[key] for key in again}):
            yield f"signature {row['what']}: its study gives {again['ours'] or again['problem']}"


def _plain(value: Any) -> str:
    """Data with floats to nine digits, to be compared."""
    rounded = json.loads(json.dumps(value), parse_float=lambda text: f"{float(text):.9g}")
    return json.dumps(rounded, sort_keys=True)


def _campaign(campaign: Row, folder: Path) -> Iterator[str]:
    csv_files = {figure["kind"]: folder / figure["csv"] for figure in campaign["figures"]}
    for stage in campaign["stages"]:
        for row in stage["rows"]:
            for task, stored in row["tasks"].items():
                yield from _differences(f"{stage['stage']}, {row['name']} on {task}", stored, summary(stored["values"]))
        yield from [*_entrants(campaign, stage), *_rows(campaign, stage)]
        if stored := stage.get("told_apart"):  # older reports lack it
            found = told_apart(stage["rows"], stored["baseline"], stored["task"])
            yield from _differences(f"{stage['stage']}, ahead of {stored['baseline']}", stored, found or {})
    for gain in campaign["gains"]:
        if gain["effect"] is not None:
            yield from _gain(campaign, gain)
    if "transfer" in csv_files:
        yield from _transfer(campaign, load(csv_files["transfer"]))
    if "population" in csv_files:
        yield from _population(campaign, load(csv_files["population"]))
    winner = campaign["winner"]
    if winner and content_address(winner["source"]) != winner["address"]:
        yield f"the winner's source has address {content_address(winner['source'])}, not {winner['address']}"


def _entrants(campaign: Row, stage: Row) -> Iterator[str]:
    """Whether as many entered a finished stage as its table shows; explore's shows the leading ones alone."""
    listed = sum(row["role"] != "baseline" for row in stage["rows"])
    most = campaign["ran"]["proposed"] if stage["stage"] == "explore" else listed
    if stage["finished"] and not listed <= stage["entrants"] <= most and campaign["gains"]:
        yield f"{stage['stage']}: {stage['entrants']} entrants, its table has {listed}"


def _rows(campaign: Row, stage: Row) -> Iterator[str]:
    """Rows in their order, and each scored one on the seeds that a finished stage declares."""
    tasks = [task["name"] for task in stage["tasks"]]
    if stage["rows"] and tasks and in_order(stage["rows"], tasks) != stage["rows"]:
        yield f"{stage['stage']}: its rows are in another order than their means"
    if not stage["finished"] or stage["stage"] == "explore":
        return
    spec, plan = campaign["spec"], campaign["identity"]["plans"][stage["stage"]]
    due = min((spec[stage["stage"]] or spec["verify"])["seeds"], plan["most_seeds"])
    for row in stage["rows"]:
        for task, stored in row["tasks"].items():
            if len(stored["values"]) != due and not row["outcomes"]:
                yield f"{stage['stage']}, {row['name']} on {task}: {len(stored['values'])} seeds, declared are {due}"


def comparisons(campaign: Row, stage: Row) -> int:
    """Entrants times baselines times deciding tasks of a stage, counted again from what the report declares."""
    spec = campaign["spec"]
    tasks = (spec[stage["stage"]] or spec["verify"])["tasks"]
    deciding = [task for task in tasks if get_task(task).decides] or tasks
    return max(1, int(stage["entrants"])) * len(spec["baselines"]) * len(deciding)


def _gain(campaign: Row, gain: Row) -> Iterator[str]:
    """The effect from the values of the stage table, and the decision from the effect."""
    where = f"{gain['stage']}, gain over {gain['baseline']} on {gain['task']}"
    stage = next(s for s in campaign["stages"] if s["stage"] == gain["stage"])
    rows = {row["address"]: row for row in stage["rows"]}
    mine = rows.get(campaign["winner"]["address"])
    other = next((r for r in stage["rows"] if r["role"] == "baseline" and r["name"] == gain["baseline"]), None)
    if mine is None or other is None:
        yield f"{where}: no values to derive it from"
        return
    task = next(t for t in stage["tasks"] if t["name"] == gain["task"])
    stored = gain["effect"]
    found = paired_effect(
        mine["tasks"][gain["task"]]["values"], other["tasks"][gain["task"]]["values"],
        higher_is_better=task["higher_is_better"], num_comparisons=comparisons(campaign, stage),
    )  # fmt: skip
    yield from _differences(where, stored, found.as_dict())
    decision = decision_of(Effect(**stored), gain["stage"])
    if decision != gain["decision"]:
        yield f"{where}: the interval allows {decision!r}, the report says {gain['decision']!r}"


def _transfer(campaign: Row, rows: list[dict[str, str]]) -> Iterator[str]:
    for pair in campaign["transfer"]:
        mine = [row for row in rows if (row["from"], row["to"]) == (pair["from"], pair["to"])]
        where = f"transfer from {pair['from']} to {pair['to']}"
        if len(mine) != pair["n"]:
            yield f"{where}: n = {pair['n']}, the table has {len(mine)}"
        elif pair["correlation"] is not None:
            x, y = ([float(row[column]) for row in mine] for column in ("gain_from", "gain_to"))
            yield from _differences(where, pair["correlation"], rank_correlation(x, y).as_dict())


def _population(campaign: Row, rows: list[dict[str, str]]) -> Iterator[str]:
    ran, counted = campaign["ran"], Counter(row["outcome"] for row in rows)
    stored = Counter(ran["outcomes"]) + Counter(pending=ran["pending"])
    if ran.get("shown", ran["proposed"]) < ran["proposed"]:  # a large run's table holds a share of it
        counted, stored = Counter(all=len(rows)), Counter(all=ran["shown"])
    if counted != stored:
        yield f"proposals by outcome: {dict(stored)} of {ran['proposed']}, the table has {dict(counted)} of {len(rows)}"
    for row in rows:
        if (row["outcome"] == "scored") != (number(row["gain"]) is not None):
            yield f"proposal {row['number']}: {row['outcome']} with gain {row['gain']!r}"


def _differences(where: str, stored: Any, found: Any) -> Iterator[str]:
    """Fields of two rows that are not the same; floats to nine digits."""
    for key, value in found.items():
        if not _same(value, stored.get(key)):
            yield f"{where}: {key} is {stored.get(key)!r}, its data give {value!r}"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    return bool(a == b)
