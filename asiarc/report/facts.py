"""What the report says, as plain data: the claims, and each campaign from its question to its winner.

Everything in here is JSON-ready and is what `report.json` holds. A gain that cannot be computed carries `problem`
instead of numbers; nothing missing is ever a number.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from asiarc.archive.gains import Gains, gains_of
from asiarc.archive.results import TRIALS, CampaignResult, Row, Values, latest_by_campaign, paired_by_seed, spend_of
from asiarc.archive.store import Archive
from asiarc.campaign.identity import kernels_folder
from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import STAGES, StageName
from asiarc.evidence.claims import Verdict
from asiarc.evidence.effects import Effect, decide, mean_interval, paired_effect
from asiarc.evidence.multiplicity import benjamini_hochberg
from asiarc.evidence.transfer import rank_correlation
from asiarc.report.memory import memory_facts
from asiarc.report.paths import paths_of
from asiarc.report.register import Register
from asiarc.studies.baselines import NAME as BASELINES_RUN
from asiarc.studies.baselines import SIGNATURES
from asiarc.tasks import deciding, get_task

FORMAT = 3
WITHOUT_EXTRACT = 1  # the format of reports that have none
WITHOUT_BOUGHT = 2  # the last format that does not say what was bought
LEADING = 5  # candidates whose insights are shown
EXAMPLES = 5  # reasons shown for each gate
FALSE_SHARE = 0.05  # expected share of false ones among those that are called ahead
_CAPPED = re.compile(r"(; )?contradicted at (smaller scale|the \w+ tier's scale only)$")  # as it was said until 2026-11
FRESH: StageName = "confirm"  # the stage whose seeds and items chose nothing


def project_folder(folder: Path) -> Path:
    """The checkout that holds `reproductions/` and `campaigns/`: from here or the report's folder upwards."""
    candidates = (Path.cwd(), *folder.resolve().parents, kernels_folder().parent)
    return next((place for place in candidates if (place / "reproductions").is_dir()), Path.cwd())


# --- claims -----------------------------------------------------------------------------------------------------------


def claim_facts(archive: Archive, tier: str, folder: Path) -> Row:
    """The verdicts of a tier, each with what the register says of its claim, and the claims without one."""
    register = _entries(folder)
    decided: list[Row] = []
    for verdict in archive.verdicts(tier):
        row = Verdict(**verdict).as_dict()
        told = {"verdict": row, "register": register.get(verdict["claim"])}
        analyses = paths_of(archive, row)
        decided.append(told | ({"analyses": analyses} if analyses else {}))
    asked = {row["verdict"]["claim"] for row in decided}
    return {
        "decided": decided,
        "open": [entry for claim, entry in register.items() if claim not in asked],
        "counts": dict(Counter(row["verdict"]["verdict"] for row in decided)),
    }


def in_todays_words(claims: Row, folder: Path) -> Row:
    """A report's claims with what the register says of them now; those that it no longer has stay as they are.

    What a tier's cap once noted beside "inconclusive" is a verdict of its own today.
    """
    now = _entries(folder)
    decided = [
        {
            **row,
            "verdict": _capped_as_today(row["verdict"]),
            "register": now.get(row["verdict"]["claim"], row["register"]),
        }
        for row in claims["decided"]
    ]
    asked = {row["verdict"]["claim"] for row in decided}
    return {
        "decided": decided,
        "open": [entry for claim, entry in now.items() if claim not in asked],
        "counts": dict(Counter(row["verdict"]["verdict"] for row in decided)),
    }


def _entries(folder: Path) -> dict[str, Row]:
    register = Register.of(project_folder(folder))
    return {claim: entry.model_dump() for claim, entry in register.claims.items()} if register else {}


def _capped_as_today(verdict: Row) -> Row:
    note, times = _CAPPED.subn("", verdict["note"])
    return {**verdict, "verdict": "contradicted at smaller scale", "note": note} if times else verdict


# --- campaigns --------------------------------------------------------------------------------------------------------


def latest_runs(archive: Archive, tier: str, campaigns: Sequence[str] | None) -> list[Row]:
    """One run a campaign: the latest that finished its last stage, else the latest; in order of their start.

    Arms are not campaigns of their own: those of a search are told with it, those of a campaign beside it.
    """
    searched = {row["campaign"] for row in archive.runs() if "arms" in row["identity"]}
    told = []
    for row in archive.runs(tier=tier):
        spec = row["identity"].get("spec")
        if spec is None or spec.get("arm") or row["campaign"] in searched:
            continue
        if campaigns is None or row["campaign"] in campaigns:
            told.append((row, "confirm" if spec.get("verify") else "explore"))
    return list(latest_by_campaign(archive, told).values())


def arm_runs(archive: Archive, runs: Sequence[Row]) -> list[tuple[str, str, str]]:
    """(campaign, arm, run) of every campaign that has arms at its tier, the full loop first with an empty arm."""
    found: list[tuple[str, str, str]] = []
    known = archive.runs()
    for run in runs:
        label = f"{run['campaign']}/"
        arms = {
            row["campaign"].removeprefix(label): row["run"]
            for row in known
            if row["tier"] == run["tier"] and row["campaign"].startswith(label)
        }
        if arms:
            found += [(run["campaign"], "", run["run"])]
            found += [(run["campaign"], arm, its_run) for arm, its_run in arms.items()]
    return found


def campaign_facts(reading: CampaignResult, row: Row, folder: Path, form: int = FORMAT) -> Row:
    """Everything that a report of a format says of one run."""
    return {
        "name": row["campaign"],
        "run": row["run"],
        "tier": row["tier"],
        "seed": row["seed"],
        "created_at": row["created_at"],
        "finished": row["record"] is not None,
        "earlier_runs": row["earlier"],
        "stages_finished": list(reading.stages),
        "question": question_of(row["campaign"], folder),
        "spec": row["identity"]["spec"],
        "ran": ran_facts(reading) | ({"bought": bought_facts(reading)} if form > WITHOUT_BOUGHT else {}),
        "winner": winner_facts(reading),
        "gains": gain_facts(reading),
        "stages": [stage_facts(reading, stage) for stage in STAGES if reading.stage_trials(stage)],
        "failures": failure_facts(reading),
        "transfer": transfer_facts(reading),
        "insights": insight_facts(reading),
        "origins": origin_facts(reading),
    }


def question_of(campaign: str, folder: Path) -> str:
    """The docstring of the file that declares the campaign, where the checkout still has it."""
    for path in sorted((project_folder(folder) / "campaigns").glob("campaign_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if campaign in names:
            return ast.get_docstring(tree) or ""
    return ""


def ran_facts(reading: CampaignResult) -> Row:
    """Counts of proposals by outcome, and what each stage cost."""
    outcomes = Counter[str]()
    for row in reading.endings_by_kind:
        outcomes[row["outcome"]] += row["count"]
    admitted = sum(count for kind, count in outcomes.items() if kind != "rejected")
    admission = reading.archive.rows(
        "SELECT SUM(cpu_s) AS cpu_s, COUNT(*) AS n FROM admissions "
        "WHERE address IN (SELECT address FROM proposals WHERE run = ?)",
        reading.run,
    )[0]
    return {
        "proposed": reading.proposed,
        "shown": len(reading.proposals),
        "pending": reading.proposed - outcomes.total(),
        "admitted": admitted,
        "outcomes": dict(sorted(outcomes.items())),
        "spend": [reading.spend(stage) for stage in STAGES if stage in reading.spec],
        "admission_cpu_s": admission["cpu_s"] or 0.0,
        "admissions": admission["n"],
        "last_trial_at": reading.last_trial_at,
    }


def bought_facts(reading: CampaignResult) -> list[Row]:
    """What each stage that has trials bought."""
    return [row for stage in STAGES if (row := reading.bought(stage))["trials"]]


def total_spend(archive: Archive, runs: Sequence[str]) -> Row:
    """Trials of all runs that a report stands on, one that several share counted once."""
    return {"stage": "all", **spend_of(archive, runs)}


def winner_facts(reading: CampaignResult) -> Row | None:
    """Who won, what it is and where it comes from; None where no stage has picked one."""
    address = reading.winner_address
    row = reading.archive.candidate(address) if address else None
    if address is None or row is None:
        return None
    proposal = next((p for p in reading.proposals if p["address"] == address), None)
    return {
        "address": address, "name": reading.names.get(address, row["name"]), "number": reading.numbers.get(address),
        "motivation": row["motivation"], "source": row["source"], "measures": reading.measures.get(address, {}),
        "origins": proposal["origins"] if proposal else [], "predicted": proposal["predicted"] if proposal else "",
        "lineage": lineage_of(reading, address),
    } | _author(reading, address)  # fmt: skip


def _author(reading: CampaignResult, address: str) -> Row:
    """Who brought a candidate from outside; empty where nobody did."""
    return {"author": reading.authors[address]} if address in reading.authors else {}


def lineage_of(reading: CampaignResult, address: str) -> list[Row]:
    """The chain of first parents from a candidate back to the start, the candidate first.

    `gain` is over the start at the candidate's own rung; `step` is the gain over the parent where both stand.
    """
    gains = gains_in(reading)
    parents = {row["address"]: row["parents"] for row in reversed(reading.proposals)}
    chain: list[Row] = []
    here: str | None = address
    while here is not None and here not in {link["address"] for link in chain}:
        ending = reading.endings.get(reading.numbers.get(here, -1), {})
        parent = next(iter(parents.get(here, [])), None)
        step = gains.over(here, parent) if parent else None
        chain.append({"address": here, "name": reading.names.get(here, here), "number": reading.numbers.get(here),
                      "gain": ending.get("gain"), "rung": ending.get("rung"), **_author(reading, here),
                      "step": step and {"mean": step.mean, "radius": step.radius, "direction": step.direction,
                                        "where": step.where, "said": step.than("its parent")}})  # fmt: skip
        here = parent
    return chain


def gains_in(reading: CampaignResult) -> Gains:
    """The gains among the candidates of a run's explore, at rungs that both stand on."""
    addresses = [row["address"] for row in reading.endings.values() if row["outcome"] == "scored"]
    return gains_of(reading.archive, reading.run, addresses, reading.ranking_tasks("explore"))


def gain_facts(reading: CampaignResult) -> list[Row]:
    """The winner's gain over each baseline in each stage, on the tasks that decide; fresh where nothing was chosen."""
    if reading.winner_address is None:
        return []
    rows, winner = [], reading.entrant(reading.winner_address)
    for stage in reversed(STAGES):
        for task in reading.deciding_tasks(stage) if reading.stage_trials(stage) else ():
            for name in reading.baselines:
                row: Row = {"stage": stage, "task": task, "baseline": name, "fresh": stage == FRESH}
                try:
                    effect = winner.gain_over(name, task, stage=stage)
                except EvidenceError as error:
                    rows.append({**row, "effect": None, "decision": None, "problem": str(error)})
                else:
                    rows.append(
                        {**row, "effect": effect.as_dict(), "decision": decision_of(effect, stage), "problem": ""}
                    )
    return rows


def decision_of(effect: Effect, stage: str) -> str:
    """What `decide` allows one to say of an effect measured in a stage."""
    return decide(effect, fresh_seeds=stage == FRESH, fresh_items=stage == FRESH)


def stage_facts(reading: CampaignResult, stage: StageName) -> Row:
    """The table of a stage: every finalist and baseline with its numbers and its resources."""
    trials, values = reading.stage_trials(stage), reading.values(stage)
    entrants = reading.stages.get(stage, {})
    listed = entrants.get("finalists" if stage == "explore" else "entrants", [])
    baselines = set(reading.baselines.values())
    others = sorted({t["address"] for t in trials} - baselines - set(listed), key=lambda a: reading.numbers.get(a, -1))
    candidates = [*listed, *others] if stage not in reading.stages else listed
    ranking, at_chance, tokens = reading.ranking_tasks(stage), reading.at_chance(stage), reading.tokens(stage)
    tasks = sorted(
        (task for task in reading.tasks(stage) if any(t["task"] == task for t in trials)),
        key=lambda t: t not in ranking,
    )
    decide = deciding(reading.tasks(stage))
    rows = [_mixer_row(reading, address, "candidate", trials, values, tasks) for address in candidates]
    rows += [_mixer_row(reading, address, "baseline", trials, values, tasks) for address in reading.baselines.values()]
    return {
        "stage": stage,
        "finished": stage in reading.stages,
        "fresh": stage == FRESH,
        "entrants": len(entrants.get("entrants", [])),
        "tasks": [
            _task_facts(task, trials, tokens.get(task), decides=task in decide, at_chance=task in at_chance)
            for task in tasks
        ],
        "rows": in_order(rows, tasks),
        "told_apart": told_apart(rows, reading.spec["start_from"], tasks[0]) if stage == "verify" else None,
    } | ({"memory": memory} if (memory := memory_facts(reading, stage, in_order(rows, tasks))) else {})


def told_apart(rows: Sequence[Row], start: str, task: str) -> Row | None:
    """How many of all that entered a stage are ahead of the start, at a false discovery rate of `FALSE_SHARE`.

    None where nothing can be compared, or one candidate entered alone.
    """
    base = next((row for row in rows if row["role"] == "baseline" and row["name"] == start), None)
    entrants = [row for row in rows if row["role"] != "baseline"]
    if base is None or len(entrants) < 2:
        return None
    effects = {}
    for row in entrants:
        with suppress(EvidenceError):  # fewer than two seeds in common
            effects[row["address"]] = paired_by_seed(row["tasks"][task]["values"], base["tasks"][task]["values"], task)
    if not effects:
        return None
    adjusted = benjamini_hochberg({address: effect.p_value for address, effect in effects.items()})
    ahead = sum(effects[address].mean > 0 and p <= FALSE_SHARE for address, p in adjusted.items())
    return {"ahead": ahead, "compared": len(effects), "baseline": start, "task": task, "rate": FALSE_SHARE}


def _task_facts(name: str, trials: Sequence[Row], tokens: Row | None, *, decides: bool, at_chance: bool) -> Row:
    task = get_task(name)
    return {
        "name": name, "metric": task.metric, "higher_is_better": task.higher_is_better, "chance": task.chance,
        "decides": decides and not at_chance, "steps": max(t["steps"] for t in trials if t["task"] == name),
    } | ({"at_chance": True} if at_chance else {}) | (tokens or {})  # fmt: skip


def _mixer_row(
    reading: CampaignResult, address: str, role: str, trials: Sequence[Row], values: Row, tasks: Sequence[str]
) -> Row:
    mine = [t for t in trials if t["address"] == address]
    sized = [t for t in mine if tasks and t["task"] == tasks[0]] or mine  # other tasks may train other sizes of model
    sizes: Row = {
        key: next((t[key] for t in sized if t[key] is not None), None)
        for key in ("parameters", "state_bytes", "flops_per_token")
    }
    return {
        "address": address, "name": reading.names.get(address, address), "number": reading.numbers.get(address),
        "role": "winner" if address == reading.winner_address else role, **sizes,
        "trials": len(mine), "cpu_s_per_trial": sum(t["cpu_s"] for t in sized) / len(sized) if sized else None,
        "learning_rates": sorted({t["learning_rate"] for t in sized}),
        "outcomes": dict(Counter(t["outcome"] for t in mine if t["outcome"] != "scored")),
        "tasks": {task: summary(values.get(address, {}).get(task, {}), get_task(task).metric) for task in tasks},
    }  # fmt: skip


def summary(values: dict[str, float], metric: str = "") -> Row:
    """Values by seed with their mean and, from two on, its 95 % interval: within 0 and 1 where they are accuracies."""
    found: Row = {"values": values, "n": len(values), "mean": None, "low": None, "high": None}
    if len(values) == 1:
        return {**found, "mean": next(iter(values.values()))}
    if not values:
        return found
    interval = mean_interval(list(values.values()), is_accuracy=metric == "accuracy")
    return {**found, "mean": interval.mean, "low": interval.low, "high": interval.high}


def in_order(rows: list[Row], tasks: Sequence[str]) -> list[Row]:
    """By the mean on the first deciding task, the leading one first; what was not scored there last."""
    task = tasks[0]
    sign = -1 if get_task(task).higher_is_better else 1

    def key(row: Row) -> tuple[bool, float, str]:
        mean = row["tasks"].get(task, {}).get("mean")
        return (mean is None, sign * (mean or 0.0), row["address"])

    return sorted(rows, key=key)


def failure_facts(reading: CampaignResult) -> list[Row]:
    """Proposals that were not scored, grouped by gate or kind of ending, the largest group first."""
    groups = [row for row in reading.endings_by_kind if row["outcome"] != "scored"]
    groups.sort(key=lambda row: (-row["count"], row["outcome"], row["gate"]))
    return [{**row, "examples": reading.failed(row["outcome"], row["gate"], EXAMPLES)} for row in groups]


def transfer_facts(reading: CampaignResult) -> list[Row]:
    """The rank correlation of gains between every two rungs and stages, or why there is none."""
    levels, baselines = reading.levels, set(reading.baselines.values())
    rows = []
    for index, first in enumerate(levels):
        for second in list(levels)[index + 1 :]:
            common = sorted(levels[first].keys() & levels[second].keys())
            row: Row = {
                "from": first,
                "to": second,
                "n": len(common),
                "baselines": len(baselines.intersection(common)),
                "problem": "",
            }
            try:
                found = rank_correlation([levels[first][a] for a in common], [levels[second][a] for a in common])
            except EvidenceError as error:
                rows.append({**row, "correlation": None, "problem": str(error)})
            else:
                rows.append({**row, "correlation": found.as_dict(), "says": found.explain().rpartition(": ")[2]})
    return rows


def insight_facts(reading: CampaignResult) -> list[Row]:
    """What the analyst wrote about the leading candidates."""
    endings, order = reading.endings, reading.stages.get("explore", {}).get("entrants", [])
    wanted = [reading.numbers[address] for address in order if address in reading.numbers]
    if not wanted:
        scored = [(row["rung"], row["gain"], -number) for number, row in endings.items() if row["outcome"] == "scored"]
        wanted = [-number for _, _, number in sorted(scored, reverse=True)]
    written = (row for number in wanted for row in reading.archive.insights(reading.run, number))
    found = list(islice(written, LEADING))
    return [{"number": row["number"], "name": reading.names.get(row["address"], row["address"]),
             "gain": endings.get(row["number"], {}).get("gain"), **row["insight"]} for row in found]  # fmt: skip


def origin_facts(reading: CampaignResult) -> list[Row]:
    """Where design elements came from: counts by kind over all proposals, the scored, the finalists and the winner."""
    finalists = set(reading.stages.get("explore", {}).get("finalists", []))
    groups: dict[str, Iterable[list[Row]]] = {
        "all proposals": reading.origins(scored=False),
        "scored": reading.origins(scored=True),
        "finalists": (p["origins"] for p in reading.proposals if p["address"] in finalists),
        "winner": (p["origins"] for p in reading.proposals if p["address"] == reading.winner_address),
    }
    counted = [{"group": group, **_origin_counts(origins)} for group, origins in groups.items()]
    return [row for row in counted if row["candidates"]]


def _origin_counts(origins: Iterable[list[Row]]) -> Row:
    counts, candidates = Counter[str](), 0
    for mine in origins:
        candidates += 1
        counts.update(origin["kind"] for origin in mine)
    return {
        "candidates": candidates,
        "elements": counts.total(),
        "counts": {kind: counts[kind] for kind in ("experience", "cognition", "original")},
    }


# --- baselines --------------------------------------------------------------------------------------------------------


def baseline_runs(archive: Archive, tier: str) -> list[Row]:
    """The latest run of ``asiarc baselines`` at a tier, where it ran."""
    return [row for row in archive.runs(BASELINES_RUN, tier) if "spec" not in row["identity"]][-1:]


def baseline_trials(archive: Archive, tier: str, readings: Sequence[CampaignResult]) -> list[Row]:
    """The trials that baselines are compared by: those of ``asiarc baselines`` where it ran, else the campaigns'.

    Of each task the deepest level only (steps, then stage); a trial that several runs share comes once.
    """
    trials: dict[str, Row] = {}
    table = [row["run"] for row in baseline_runs(archive, tier)]
    if table:
        names = {row["address"]: row["name"] for row in archive.rows("SELECT address, name FROM candidates")}
        trials = {trial["key"]: {**trial, "name": names[trial["address"]]} for trial in archive.rows(TRIALS, table[-1])}
    else:
        for reading in readings:
            named = {address: name for name, address in reading.baselines.items()}
            trials |= {
                t["key"]: {**t, "name": named[t["address"]]} for t in reading.held_trials if t["address"] in named
            }
    scored = [t for t in trials.values() if t["outcome"] == "scored" and "tuning" not in t["seed"]]
    deepest: dict[str, tuple[int, int]] = {}
    for trial in scored:
        deepest[trial["task"]] = max(deepest.get(trial["task"], (0, 0)), _level(trial))
    return [trial for trial in scored if _level(trial) == deepest[trial["task"]]]


def _level(trial: Row) -> tuple[int, int]:
    return trial["steps"], STAGES.index(trial["used_in"])


def baseline_facts(trials: Sequence[Row]) -> Row:
    """Every baseline on every task, and whether the published orders between them hold."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for trial in trials:
        groups.setdefault((trial["task"], trial["name"]), []).append(trial)
    cells = [_baseline_cell(name, task, groups[task, name]) for task, name in sorted(groups)]
    values: dict[tuple[str, str], Values] = {(c["task"], c["baseline"]): c["values"] for c in cells}
    return {
        "cells": cells,
        "signatures": [_signature(values, *order) for order in SIGNATURES if order[2] in {c["task"] for c in cells}],
    }


def _baseline_cell(name: str, task: str, trials: Sequence[Row]) -> Row:
    known, first = get_task(task), trials[0]
    return {
        "baseline": name,
        "task": task,
        "metric": known.metric,
        "higher_is_better": known.higher_is_better,
        "chance": known.chance,
        **summary({t["seed"]: t["value"] for t in trials}, known.metric),
        "stage": first["used_in"],
        "steps": first["steps"],
        "cpu_s_per_trial": sum(t["cpu_s"] for t in trials) / len(trials),
        **{key: first[key] for key in ("parameters", "state_bytes", "flops_per_token")},
    }


def _signature(values: dict[tuple[str, str], Values], ahead: str, behind: str, task: str) -> Row:
    sides = [values.get((task, name), {}) for name in (ahead, behind)]
    if left := [name for name, side in zip((ahead, behind), sides, strict=True) if not side]:
        found: Row = {"problem": f"{' and '.join(left)} was not trained on it here", "effect": None}
    else:
        found = compared(*sides, higher_is_better=get_task(task).higher_is_better)
    return {"ahead": ahead, "behind": behind, "task": task, **found}


def compared(candidate: Values, baseline: Values, *, higher_is_better: bool, num_comparisons: int = 1) -> Row:
    """The paired `effect` of two sides, or None and the `problem` that stands in its way."""
    try:
        effect = paired_effect(candidate, baseline, higher_is_better=higher_is_better, num_comparisons=num_comparisons)
    except EvidenceError as error:
        return {"problem": str(error), "effect": None}
    return {"problem": "", "effect": effect.as_dict()}
