"""What was found, before all else: a campaign's answer in one line, a report's in four sentences and one figure.

Everything here is a function of what `report.json` holds, so a report and the end of a session say the same numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asiarc.archive.results import CampaignResult, Row
from asiarc.core.recipe import STAGES
from asiarc.report.facts import FRESH, gain_facts, stage_facts
from asiarc.report.tables import slug
from asiarc.report.wording import count, duration, effect, large, no_winner, plural
from asiarc.tasks import get_task

UNITS = {"bits_per_byte": "bits a byte"}
SAYS = {"better": "is better than {} by", "worse": "is worse than {}:", "no worse": "is no worse than {}:"}
UNTOLD = "cannot be told from {}:"
UNDECIDED = ("inconclusive", "not testable here", "not stated clearly")
ANYTHING_ELSE = "other claims"  # of a register that gives no theme


def facts_of(reading: CampaignResult) -> Row:
    """What `answer` needs of a run that is not in a report yet; the same keys as in `report.json`."""
    return {
        "name": reading.name, "tier": reading.tier, "spec": reading.spec, "stages_finished": list(reading.stages),
        "winner": {"name": reading.winner.name} if reading.winner_address else None, "gains": gain_facts(reading),
        "stages": [stage_facts(reading, stage) for stage in STAGES if stage == FRESH and reading.stage_trials(stage)],
    }  # fmt: skip


def headline(campaign: Row) -> Row | None:
    """The gain on fresh seeds and items that answers the question: over the start where it is a baseline."""
    fresh = [gain for gain in campaign["gains"] if gain["fresh"] and gain["effect"]]
    over_start = [gain for gain in fresh if gain["baseline"] == campaign["spec"]["start_from"]]
    return next(iter(over_start or fresh), None)


def others(campaign: Row) -> list[Row]:
    """The gains on fresh seeds and items beside the headline."""
    first = headline(campaign)
    return [gain for gain in campaign["gains"] if gain["fresh"] and gain["effect"] and gain is not first]


def properties(campaign: Row) -> dict[str, Any]:
    """The answer as single values, for JUnit: winner, baseline, task, gain, low, high, n, decision; what there is."""
    found = {"winner": campaign["winner"]["name"]} if campaign["winner"] else {}
    gain = headline(campaign)
    if gain:
        found |= {key: gain[key] for key in ("baseline", "task", "decision")}
        found |= {"gain": gain["effect"]["mean"]} | {key: gain["effect"][key] for key in ("low", "high", "n")}
    return found


def answer(campaign: Row) -> str:
    """What a campaign found, without its name: ``X is better than Y by +0.4062 [+0.3524, +0.4601] bits a byte ...``."""
    if not campaign["winner"]:
        return f"no winner: {no_winner(campaign)}"
    gain, name = headline(campaign), campaign["winner"]["name"]
    if gain is None:
        problem = next((g["problem"] for g in campaign["gains"] if g["fresh"]), "")
        return f"{name} won verify, and nothing is decided: {problem or 'it has no fresh seeds and items yet'}"
    aside = [f"{said} {_names(rows, campaign)}" for said, rows in _by_decision(others(campaign))]
    return "; ".join([f"{name} {_said(gain, campaign)}", *aside])


def answer_line(campaign: Row) -> str:
    """The answer with the campaign's name and tier before it."""
    return f"{campaign['name']} at {campaign['tier']}: {answer(campaign)}"


def _said(gain: Row, campaign: Row) -> str:
    words = SAYS.get(gain["decision"], UNTOLD).format(gain["baseline"])
    numbers, n = effect(gain["effect"]).rsplit(", ", 1)
    return f"{words} {numbers} {_unit(gain['task'], campaign)} on {gain['task']}{_local(gain, campaign)}, {n}"


def _local(gain: Row, campaign: Row) -> str:
    """What a gain's task was not shown to be, where controls were trained beside it."""
    stages = (stage for stage in campaign["stages"] if stage.get("stage") == gain.get("stage"))
    row = next((row for stage in stages for row in stage.get("memory", ()) if row["task"] == gain["task"]), None)
    return "" if row is None or row["valid"] else " (not shown to measure memory)"


def _unit(task: str, campaign: Row) -> str:
    known = (row for stage in campaign["stages"] for row in stage["tasks"] if row["name"] == task)
    metric = next((row["metric"] for row in known), None) or get_task(task).metric
    return UNITS.get(metric, metric.replace("_", " "))


def _by_decision(gains: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """``better than``, ``worse than``, ... with the gains that it is said of."""
    groups: dict[str, list[Row]] = {}
    for gain in gains:
        words = {"better": "better than", "worse": "worse than", "no worse": "no worse than"}
        groups.setdefault(words.get(gain["decision"], "not told from"), []).append(gain)
    return list(groups.items())


def _names(gains: Sequence[Row], campaign: Row) -> str:
    first = headline(campaign)
    task = first["task"] if first else ""
    return ", ".join(g["baseline"] + (f" on {g['task']}" if g["task"] != task else "") for g in gains)


# --- the opening ------------------------------------------------------------------------------------------------------


def in_order(report: Row) -> list[Row]:
    """A report's campaigns, those first that no claim of the paper needs: they are the reader's own."""
    rows = [row["register"] for row in report["claims"]["decided"] if row["register"]] + report["claims"]["open"]
    papers = {name for row in rows for name in re.findall(r"campaign (\w+)", row["needs"])}
    return sorted(report["campaigns"], key=lambda campaign: campaign["name"] in papers)


def opening(report: Row) -> Row:
    """What a reader sees first: `sentences` (four of them), `figure` (None where there is none), `answers` (the
    campaigns' own, where there are several)."""
    campaigns = in_order(report)
    lead = next((c for c in campaigns if headline(c)), campaigns[0] if campaigns else None)
    figures = [figure for figure in lead["figures"] if figure["kind"] == "effects"] if lead else []
    said = [_found(lead, report), _beside(lead, campaigns, report), _cost(lead, report), _untold(lead, report)]
    return {
        "sentences": said,
        "figure": next(iter(figures), None),
        "answers": campaigns if len(campaigns) > 1 else [],
    }


def _found(lead: Row | None, report: Row) -> str:
    if lead is None:
        return f"No campaign has run at tier {report['tier']}."
    gain = headline(lead)
    if not lead["winner"] or not gain:
        return f"{lead['name']}: {answer(lead)}."
    return f"In {lead['name']}, {lead['winner']['name']} {_said(gain, lead)}, on fresh seeds and items."


def _beside(lead: Row | None, campaigns: Sequence[Row], report: Row) -> str:
    """The other baselines, or where there are several campaigns, how many found something."""
    if len(campaigns) > 1:
        ahead = [c["name"] for c in campaigns if (gain := headline(c)) and gain["decision"] == "better"]
        return f"Of {len(campaigns)} campaigns, {len(ahead)} found a mixer better than where they began{_list(ahead)}."
    rows = others(lead) if lead else []
    if not rows:
        trained = len(report["studies"]) + len(report["searches"])
        return f"Beside it stand {plural(trained, 'study').replace('studys', 'studies')} of mixers named beforehand." \
            if trained else "Nothing else was compared on fresh seeds and items."  # fmt: skip
    told = [
        f"{said} " + ", ".join(f"{g['baseline']} ({effect(g['effect']).rsplit(', ', 1)[0]})" for g in some)
        for said, some in _by_decision(rows)
    ]
    return f"On the same seeds it is {'; '.join(told)}."


def _list(names: Sequence[str]) -> str:
    return f": {', '.join(names)}" if names else ""


def _cost(lead: Row | None, report: Row) -> str:
    spend, where = report["spend"], report["provenance"]
    start = lead["spec"]["start_from"] if lead else ""
    searched = f"{count(lead['ran']['proposed'])} candidates proposed from {start}, " if lead else ""
    return (
        f"At tier {report['tier']} all of this took {searched}{plural(spend['trials'], 'trial')}, "
        f"{duration(spend['cpu_s'])} of processor time and {large(spend['tokens'])} training tokens on {where['cpu']}."
    )


def _untold(lead: Row | None, report: Row) -> str:
    """What stays open: baselines, orders between rungs and stages, claims; only what was asked counts."""
    told: list[str] = []
    if lead:
        unsure = [gain["baseline"] for gain in lead["gains"] if gain["fresh"] and gain["decision"] == "cannot tell"]
        told += [f"whether it is ahead of {', '.join(unsure)}"] if unsure else []
        flagged = sum(not (pair["correlation"] or {}).get("transfers") for pair in lead["transfer"])
        told += [
            f"whether ranks carry over in {flagged} of {plural(len(lead['transfer']), 'pair')} of rungs and stages"
        ] if flagged else []  # fmt: skip
    counts = report["claims"]["counts"]
    if left := {verdict: counts[verdict] for verdict in UNDECIDED if counts.get(verdict)}:
        words = ", ".join(f"{n} {verdict}" for verdict, n in left.items())
        told.append(f"{sum(left.values())} of the {sum(counts.values())} claims of the paper that were asked ({words})")
    return f"What could not be told: {'; '.join(told)}." if told else "Nothing that was asked stayed open."


# --- claims -----------------------------------------------------------------------------------------------------------


def themes(decided: Iterable[Row]) -> list[tuple[str, list[Row], dict[str, int]]]:
    """Decided claims by what they are about, in the register's order, each theme with its counts of verdicts."""
    groups: dict[str, list[Row]] = {}
    for row in decided:
        groups.setdefault((row["register"] or {}).get("theme") or ANYTHING_ELSE, []).append(row)
    return [(t, rows, dict(Counter(row["verdict"]["verdict"] for row in rows))) for t, rows in groups.items()]


def evidence_of(row: Row, report: Row) -> Mapping[str, str]:
    """Where in the page a verdict's evidence stands: `href`, and in words; the claim's own lines where nowhere else."""
    needs = (row["register"] or {}).get("needs", "")
    here = {("campaign", part["name"]) for part in report["campaigns"]}
    here |= {("study", part["name"]) for part in (*report["studies"], *report["searches"])}
    for kind, name in re.findall(r"(campaign|study) (\w+)", needs):
        if (kind, name) in here:
            return {"href": f"#{kind}-{slug(name)}", "words": f"{kind} {name}"}
    return {"href": f"#{row['verdict']['claim']}-how", "words": row["verdict"]["evidence_path"]}


GLOBALS: dict[str, Any] = {
    f.__name__: f for f in (opening, in_order, themes, evidence_of, answer, headline, properties, slug)
}
