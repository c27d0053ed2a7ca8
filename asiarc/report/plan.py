"""The plan: what each stage would do and cost, before anything runs; estimated from stored trials where there are."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from pathlib import Path

from asiarc.archive.store import Archive
from asiarc.engineer.bench import trial_protocol
from asiarc.protocol import StageName, Tier, stage_plan
from asiarc.spec import Campaign
from asiarc.tasks import get_task

TOKENS_PER_CPU_S = 30_000  # one thread, micro model, until the archive knows better
TRIAL_OVERHEAD_S = 1.5  # building, evaluating and scoring a model
ADMISSION_S = 4.0


def stage_trials(campaign: Campaign, stage: StageName, tier: Tier) -> list[tuple[int, int]]:
    """(trials, tokens a trial) of one stage, by kind of trial."""
    plan, declared = stage_plan(tier, stage), campaign.stage(stage)
    deciding = [task for task in declared.tasks if get_task(task).decides] or list(declared.tasks)
    baselines, rows = len(campaign.baselines), []
    if stage == "explore":
        entrants = campaign.budget.at(tier).candidates
        for rung, steps in enumerate(plan.rungs):
            last = rung == len(plan.rungs) - 1
            tasks = declared.tasks if last else deciding
            seeds, beside = (declared.seeds, baselines) if last else (1, 1)
            rows += [
                (seeds * (entrants + beside), trial_protocol(task, plan.text, steps, plan.capability).tokens)
                for task in tasks
            ]
            entrants = ceil(entrants * plan.keep)
        return rows
    entrants = (declared.top or 4) if stage == "verify" else 1
    for task in declared.tasks:
        tokens = trial_protocol(task, plan.text, plan.rungs[-1], plan.capability).tokens
        rows.append((declared.seeds * (entrants + baselines), tokens))
    if len(declared.learning_rates) > 1:
        rows.append((len(declared.learning_rates) * (entrants + baselines), rows[0][1]))
    return rows


def measured_rate(archive: Archive | None) -> float:
    """Tokens a CPU-second over the stored trials, or the default."""
    if archive is None:
        return TOKENS_PER_CPU_S
    row = archive.rows(
        "SELECT SUM(tokens) AS tokens, SUM(cpu_s) AS cpu_s FROM trials WHERE outcome = 'scored'"
    )[0]
    return float(row["tokens"] / row["cpu_s"]) if row["cpu_s"] else TOKENS_PER_CPU_S


def plan_lines(
    stages: Iterable[tuple[str, Campaign, str, StageName]], tier: Tier, folder: Path, workers: int
) -> list[str]:
    """The table that --plan prints."""
    archive = Archive(folder, write=False) if (folder / "archive.db").exists() else None
    rate = measured_rate(archive)
    lines = [
        f"plan at tier {tier}, {workers} workers, {rate:,.0f} tokens a CPU-second:",
        _row("item", "candidates", "trials", "Mtokens", "LLM calls", "minutes", "usd", "done"),
    ]
    total = 0.0
    for nodeid, campaign, name, stage in stages:
        rows = stage_trials(campaign, stage, tier)
        trials, tokens = sum(n for n, _ in rows), sum(n * t for n, t in rows)
        candidates = campaign.budget.at(tier).candidates if stage == "explore" else 0
        cpu_s = tokens / rate + trials * TRIAL_OVERHEAD_S + candidates * ADMISSION_S
        minutes = cpu_s / workers / 60
        total += minutes
        done = "yes" if archive and _is_done(archive, name, tier, stage, campaign) else "no"
        mtokens = f"{tokens / 1e6:.1f}"
        lines.append(_row(nodeid, str(candidates), str(trials), mtokens, "0", f"{minutes:.1f}", "0.00", done))
    lines.append(f"  at most {total:.1f} minutes in all; nothing was run (--plan)")
    if archive:
        archive.close()
    return lines


def _row(item: str, *columns: str) -> str:
    *numbers, done = columns
    return f"  {item:<60}" + "".join(f"{number:>11}" for number in numbers) + f"  {done}"


def _is_done(archive: Archive, name: str, tier: Tier, stage: StageName, campaign: Campaign) -> bool:
    from asiarc.identity import digest, run_identity

    return archive.stage_result(digest(run_identity(campaign, name, tier)), stage) is not None
