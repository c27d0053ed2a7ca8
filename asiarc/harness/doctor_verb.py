"""``asiarc doctor``: what this machine offers, which layers hold candidate code, what each tier can do and how long.

Times are of one plain campaign, priced as --plan prices yours: by the trials of the archive where there are any.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asiarc.core.recipe import ON_GPU, TIERS, Tier
from asiarc.harness.options import AS_JSON, STORE, WORKERS, say, told

if TYPE_CHECKING:
    from asiarc.campaign.declaration import Campaign

CANDIDATES: dict[Tier, int] = {"smoke": 8, "quick": 48, "full": 200, "gpu": 24, "paper": 1_773}
MEMORY_GB = 2.0  # of a worker, about: torch, and a model of the micro or small recipe
LONG_S = 24 * 3600  # beyond which a tier is for patient people or another machine


@click.command()
@STORE
@WORKERS
@AS_JSON
def doctor(store: Path, workers: int, as_json: bool) -> None:
    """What this machine offers: versions, the layers of the sandbox that hold here, and what each tier can do."""
    from asiarc.campaign.identity import provenance
    from asiarc.execution import doctor as layers_here
    from asiarc.execution.layers import not_held

    facts, layers = provenance(), layers_here()
    loose = not_held(layer for layer, offered, _ in layers if offered)
    tiers, rate = tiers_here(store, workers)
    if as_json:
        rows = [dict(zip(("layer", "offered", "detail"), row, strict=True)) for row in layers]
        told({"machine": facts, "sandbox": rows, "not_held": loose, "tiers": tiers, "rate": rate})
        return
    _print_machine(facts, layers, loose)
    click.echo()
    say(f"One campaign of each tier: three baselines, text, {workers} workers. {rate}")
    for tier, row in tiers.items():
        say(f"{tier:<6} {row['said']}")


def _print_machine(facts: dict[str, Any], layers: list[tuple[str, bool, str]], loose: list[str]) -> None:
    from rich.table import Column, Table

    from asiarc.harness.archive_verbs import console

    for name in ("python", "platform", "cpu", "cores", "git_commit"):
        say(f"{name:<12} {facts[name]}")
    say(f"memory       {memory_gb():.0f} GB, about {MEMORY_GB:.0f} GB a worker")
    packages = ", ".join(f"{package} {version}" for package, version in facts["packages"].items())
    say(f"packages     {packages}")
    table = Table("layer", Column("offered", no_wrap=True), Column("what it holds", overflow="fold"), box=None)
    for layer, offered, detail in layers:
        table.add_row(layer, "yes" if offered else "no", detail)
    console().print(table)
    for kind in loose:
        say(f"not held     {kind}")


def memory_gb() -> float:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def tiers_here(store: Path, workers: int) -> tuple[dict[Tier, dict[str, Any]], str]:
    """What each tier can do on this machine and how long it takes, and what that rests on."""
    from asiarc.archive.store import Archive
    from asiarc.core.device import device_type
    from asiarc.studies.plan import TOKENS_PER_CPU_S, measured_rate

    rate: float = TOKENS_PER_CPU_S
    if (store / "archive.db").exists():
        with Archive(store, write=False) as archive:
            rate = measured_rate(archive)
    is_measured = rate != TOKENS_PER_CPU_S
    said = f"{rate:,.0f} tokens a CPU-second, " + (
        f"as the trials in {store} took." if is_measured else "a guess until trials are stored here."
    )
    return {tier: _tier_here(tier, rate, workers, device_type()) for tier in TIERS}, said


def _tier_here(tier: Tier, rate: float, workers: int, device: str) -> dict[str, Any]:
    """Seconds, from nothing but training to twice that with the gates, and a line that says so."""
    from asiarc.studies.frame import SLOWER, in_time
    from asiarc.studies.plan import ADMISSION_S, cpu_s_of, gpu_h_of, stage_trials

    campaign, candidates = plain_campaign(tier), CANDIDATES[tier]
    trials = [row for stage in campaign.stages for row in stage_trials(campaign, stage, tier)]
    count = sum(number for number, _ in trials)
    if tier in ON_GPU:
        hours = gpu_h_of(trials, tier)
        runs = device == "cuda"
        text = ", its text is downloaded once" if tier == "paper" else ""
        where = f"runs here{text}" if runs else "does not run here: torch finds no GPU (--dry-run passes every step)"
        said = f"{where}; {candidates:,} candidates, {count:,} trials, at least {hours:,.1f} hours of one H100"
        return {"runs": runs, "candidates": candidates, "trials": count, "gpu_hours_at_least": hours, "said": said}
    low = cpu_s_of(trials, rate) / workers
    high = SLOWER * (low + candidates * ADMISSION_S / workers)
    device_said = "the GPU" if device == "cuda" else "the CPU"
    said = f"runs here, on {device_said}; {candidates} candidates, {count:,} trials: {in_time((low, high))}"
    if high > LONG_S:
        said += "; more workers, or a cluster, make it shorter"
    return {"runs": True, "candidates": candidates, "trials": count, "seconds": [low, high], "said": said}


def plain_campaign(tier: Tier) -> Campaign:
    """The campaign whose time is told: text alone, three baselines, five fresh seeds for four finalists."""
    from asiarc.campaign.declaration import Budget, ByTier, Campaign, Stage

    return Campaign(
        start_from="delta_net",
        baselines=("delta_net", "gated_delta_net", "mamba2"),
        explore=Stage(tasks=("text",), seeds=2),
        verify=Stage(tasks=("text",), seeds=5, top=4),
        budget=ByTier(**{tier: Budget(candidates=CANDIDATES[tier], minutes=1)}),
    )
