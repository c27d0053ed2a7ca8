"""The plan: what each stage would do and cost, before anything runs; estimated from stored trials where there are.

A token's time on one thread grows with the 0.75th power of its forward FLOPs (larger products are more efficient):
measured from 0.08 MFLOP (capability checks) to 1.6 MFLOP (the small recipe), within a quarter.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from pathlib import Path

from asiarc.archive.store import Archive
from asiarc.campaign.declaration import Campaign
from asiarc.campaign.kernels import AnyCampaign, KernelCampaign
from asiarc.campaign.recipe import model_size
from asiarc.core.bought import GPU_FLOPS_PER_S, PASSES
from asiarc.core.device import device_type
from asiarc.core.recipe import MICRO, ON_GPU, TRIAL_MEMORY_BYTES, StageName, Tier, TrialRecipe
from asiarc.evidence.power import detectable_difference
from asiarc.loop.trials import planned_recipe
from asiarc.models.memory import HEADROOM, Passes, passes_of, peak_bytes
from asiarc.studies.verdicts import USEFUL
from asiarc.tasks import deciding, get_task

TOKENS_PER_CPU_S = 40_000  # one thread, micro model on text, until the archive knows better
GROWTH = 0.75
GPU, GPU_MEMORY_BYTES = "H100", 80 * 10**9  # what trials on a GPU are priced on
MFU = {"gpu": 0.3, "paper": 0.4}  # assumed of it: what large models reach, and small ones may not
TRIAL_OVERHEAD_S = 1.0  # building, evaluating and scoring a model
ADMISSION_S = 4.0
JUDGE_S, TIMING_S = 60.0, 20.0  # a kernel's gates, and one timing beside the shipped one
WIDE = 136  # columns that the table takes
COLUMNS = ("candidates", "trials", "Mtokens", "LLM calls", "minutes", "usd", "done")


Trials = list[tuple[int, TrialRecipe]]  # how many of which kind


def flops_per_token(recipe: TrialRecipe) -> float:
    """Forward FLOPs of a DeltaNet model, about: embedding, MLP, and six d x d products a mixer."""
    d = recipe.d_model
    return 2 * (recipe.vocab_size * d + recipe.num_layers * (6 + 3 * recipe.mlp_ratio) * d * d)


def tokens_of(trials: Trials) -> int:
    """Training tokens of all."""
    return sum(count * recipe.tokens for count, recipe in trials)


def cpu_s_of(trials: Trials, rate: float = TOKENS_PER_CPU_S) -> float:
    """CPU-seconds of all, about; `rate` is in tokens a CPU-second of the micro recipe on text."""
    return sum(
        count * (recipe.tokens * _slower(flops_per_token(recipe)) / rate + TRIAL_OVERHEAD_S) for count, recipe in trials
    )


def gpu_h_of(trials: Trials, tier: Tier = "paper") -> float:
    """Hours of one large GPU for the training of all, at best: a step costs three forward passes."""
    flops = sum(count * recipe.tokens * PASSES * flops_per_token(recipe) for count, recipe in trials)
    return flops / (MFU[tier] * GPU_FLOPS_PER_S[GPU]) / 3600


def hours_of(trials: Trials, tier: Tier, rate: float = TOKENS_PER_CPU_S) -> tuple[float, str]:
    """What all cost, and in what: hours of one core, at the tiers above full of one GPU."""
    if tier in ON_GPU:
        return gpu_h_of(trials, tier), "GPU-hours"
    return cpu_s_of(trials, rate) / 3600, "CPU-hours"


def _slower(flops: float) -> float:
    """How much longer a token takes than on the micro recipe."""
    return float((flops / flops_per_token(MICRO)) ** GROWTH)


def stage_trials(campaign: Campaign, stage: StageName, tier: Tier) -> Trials:
    """The trials of one stage by kind; an upper bound where candidates fail."""
    plan, declared = campaign.plan(stage, tier), campaign.stage(stage)
    decide = deciding(declared.tasks) or declared.tasks
    baselines, seeds = len(campaign.baselines), min(declared.seeds, plan.most_seeds)

    def row(models: int, task: str, steps: int) -> tuple[int, TrialRecipe]:
        return models, planned_recipe(task, plan, steps)

    def tuning(models: int) -> Trials:
        rates = len(declared.learning_rates)
        return [row(rates * models, decide[0], plan.rungs[0])] if rates > 1 else []

    if stage == "explore":
        rows, entrants = tuning(campaign.budget.at(tier).candidates + baselines), campaign.budget.at(tier).candidates
        reference = plan.reference_seeds(declared.seeds)
        for steps in plan.rungs[:-1]:
            rows += [row(entrants + reference, task, steps) for task in decide]
            entrants = ceil(entrants * plan.keep)
        for task in declared.tasks:
            others = entrants + baselines - 1
            count = seeds * others + reference if task in decide else others + 1
            rows.append(row(count, task, plan.rungs[-1]))
        return rows
    entrants = min(campaign.finalists, plan.most_entrants) if stage == "verify" else 1
    controls = len(campaign.controls_at(tier))
    rows = [
        row(seeds * (entrants + baselines + (controls if task in decide else 0)), task, plan.rungs[-1])
        for task in declared.tasks
    ]
    return rows + tuning(entrants + baselines)


def measured_rate(archive: Archive | None) -> float:
    """Tokens a CPU-second on the micro recipe, as the stored trials say, or the default."""
    if archive is None:
        return TOKENS_PER_CPU_S
    rows = archive.rows(
        "SELECT flops_per_token AS flops, SUM(tokens) AS tokens, SUM(cpu_s) AS cpu_s, COUNT(*) AS count "
        "FROM trials WHERE outcome = 'scored' GROUP BY flops_per_token"
    )
    spent_s = sum(row["cpu_s"] - row["count"] * TRIAL_OVERHEAD_S for row in rows)
    micro_tokens = sum(row["tokens"] * _slower(row["flops"]) for row in rows)
    return micro_tokens / spent_s if spent_s > 0 else TOKENS_PER_CPU_S


def plan_lines(
    stages: Iterable[tuple[str, AnyCampaign, str, StageName]],
    tier: Tier,
    folder: Path,
    workers: int,
    width: int | None = None,
) -> list[str]:
    """The table that --plan prints; where a terminal of so many columns has no room for it, its numbers by name."""
    archive = Archive(folder, write=False) if (folder / "archive.db").exists() else None
    rate = measured_rate(archive)
    lines = [
        f"plan at tier {tier}, {workers} workers, {_speed(tier, rate)}:",
        *([] if width and width < WIDE else [_row("item", *COLUMNS)]),
    ]
    total = gpu_h = 0.0
    for nodeid, campaign, name, stage in stages:
        if isinstance(campaign, KernelCampaign):
            columns, minutes = _of_kernels(campaign, stage, tier)
            columns += ("yes" if archive and _is_timed(archive, name, tier, stage, campaign) else "no",)
            lines += _named(nodeid, *columns) if width and width < WIDE else [_row(nodeid, *columns)]
            total += minutes
            continue
        rows = stage_trials(campaign, stage, tier)
        candidates = campaign.budget.at(tier).candidates if stage == "explore" else 0
        hours = hours_of(rows, tier, rate)[0] + candidates * ADMISSION_S / 3600
        minutes = 60 * hours / workers
        total += minutes
        gpu_h += gpu_h_of(rows, tier) if tier in ON_GPU else 0
        done = "yes" if archive and _is_done(archive, name, tier, stage, campaign) else "no"
        trials, mtokens = sum(count for count, _ in rows), f"{tokens_of(rows) / 1e6:.1f}"
        calls, usd = _models(campaign, candidates, tier)
        columns = (str(candidates), str(trials), mtokens, str(calls), f"{minutes:.1f}", f"{usd:.2f}", done)
        lines += _named(nodeid, *columns) if width and width < WIDE else [_row(nodeid, *columns)]
        texts = {task: get_task(task).trained_on for task in campaign.stage(stage).tasks}
        lines += [f"    {task} brings no training text: {text} is trained on" for task, text in texts.items() if text]
        lines += [f"    {told}" for told in validity_lines(campaign, stage)]
        lines.append(f"    {memory_line(campaign, rows, tier)}")
        if stage != "explore":
            lines.append(f"    {resolved(campaign, stage, tier)}")
    known = "as trials stored here took" if rate != TOKENS_PER_CPU_S else "a guess until trials are stored here"
    if tier in ON_GPU:
        known = f"{gpu_h:,.2f} GPU-hours; on one GPU a job: --workers is how many there are"
    lines.append(f"  about {total:.1f} minutes in all ({known}); nothing was run (--plan)")
    if archive:
        archive.close()
    return lines


def validity_lines(campaign: Campaign, stage: StageName) -> list[str]:
    """Whether each text that decides was shown to measure memory: by which committed study, at which size."""
    tasks = [task for name in deciding(campaign.stage(stage).tasks) if (task := get_task(name)).kind == "text"]
    return [
        f"{task.name} was shown to measure memory at {task.shown.size} ({task.shown.study})"
        if task.shown
        else f"{task.name} is not shown to measure memory: a gain on it may be local"
        for task in tasks
    ]


def memory_line(campaign: Campaign, trials: Trials, tier: Tier) -> str:
    """What the largest trial of a stage takes of the memory, among the campaign's baselines; in words."""
    on_gpu = tier in ON_GPU or device_type() == "cuda"
    allowed, whose = (GPU_MEMORY_BYTES, f"an {GPU}'s (assumed)") if on_gpu else (TRIAL_MEMORY_BYTES, "the sandbox's")
    kinds = ((recipe, mixer) for _, recipe in trials for mixer in campaign.baselines)
    needs, mixer, passes = max((_memory(*kind, allowed) for kind in kinds), key=lambda found: found[0])
    again = ", blocks computed again in the backward pass" if passes.is_checkpointed else ""
    return (
        f"a trial of {mixer} takes about {size(needs)} of {whose} {size(allowed)} beyond an idle process, at "
        f"{passes.micro_batch} rows a pass{again}"
    )


def _memory(recipe: TrialRecipe, mixer: str, allowed: int) -> tuple[int, str, Passes]:
    parameters = model_size(recipe, mixer)
    passes = passes_of(recipe, parameters, round(HEADROOM * allowed), mixer=mixer)
    return peak_bytes(recipe, parameters, passes, mixer), mixer, passes


def size(count: float) -> str:
    """Bytes in GiB, or in MiB where they are few."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def resolved(campaign: Campaign, stage: StageName, tier: Tier) -> str:
    """Which gain of one candidate a stage's seeds tell from none, at the noise of a short trial."""
    plan, declared = campaign.plan(stage, tier), campaign.stage(stage)
    seeds = min(declared.seeds, plan.most_seeds)
    if seeds < 2:
        return "one seed tells no gain from noise"
    entrants = min(campaign.finalists, plan.most_entrants) if stage == "verify" else 1
    comparisons = entrants * len(campaign.baselines) * len(deciding(declared.tasks) or declared.tasks)
    gain = detectable_difference(USEFUL, seeds, num_comparisons=comparisons)
    return (
        f"{seeds} seeds find a gain of {gain:.3f} four times in five, at a paired noise of {USEFUL:g} and widened for "
        f"{comparisons} comparisons"
    )


def _speed(tier: Tier, rate: float) -> str:
    if tier not in ON_GPU:
        return f"{rate:,.0f} tokens a CPU-second"
    return f"{GPU} GPUs at {GPU_FLOPS_PER_S[GPU] / 1e12:,.0f} TFLOP/s and an MFU of {MFU[tier]:.0%} (both assumed)"


def _models(campaign: Campaign, candidates: int, tier: Tier) -> tuple[int, float]:
    """Calls of language models and what they may cost, which the budget caps."""
    if campaign.models is None or not candidates:
        return 0, 0.0
    from asiarc.loop.cost import estimate

    checks = "motivation" in campaign.novelty
    calls, usd = estimate(campaign.models, candidates, checks_motivations=checks)
    return calls, min(usd, campaign.budget.at(tier).usd)


def _of_kernels(campaign: KernelCampaign, stage: StageName, tier: Tier) -> tuple[tuple[str, ...], float]:
    """What a stage of a campaign of kernels examines and times, and its minutes: one after the other."""
    candidates = campaign.budget.at(tier).candidates
    entrants = {"explore": candidates, "verify": min(campaign.top, candidates), "confirm": 1}[stage]
    judged, timings = (candidates if stage == "explore" else 0), (entrants + 1) * campaign.timings(stage, tier)
    minutes = (judged * JUDGE_S + timings * TIMING_S) / 60
    return (str(judged), str(timings), "0.0", "0", f"{minutes:.1f}", "0.00"), minutes


def _is_timed(archive: Archive, name: str, tier: Tier, stage: StageName, campaign: KernelCampaign) -> bool:
    from asiarc.core.digest import digest
    from asiarc.loop.kernels import kernel_identity

    return archive.stage_result(digest(kernel_identity(campaign, name, tier)), stage) is not None


def _row(item: str, *columns: str) -> str:
    *numbers, done = columns
    return f"  {item:<60}" + "".join(f"{number:>11}" for number in numbers) + f"  {done}"


def _named(item: str, *columns: str) -> list[str]:
    *numbers, done = columns
    told = (f"{number} {name}" for number, name in zip(numbers, COLUMNS, strict=False))
    return [f"  {item}", f"    {', '.join(told)}; {'done' if done == 'yes' else 'not done'}"]


def _is_done(archive: Archive, name: str, tier: Tier, stage: StageName, campaign: Campaign) -> bool:
    from asiarc.campaign.identity import run_identity
    from asiarc.core.digest import digest

    return archive.stage_result(digest(run_identity(campaign, name, tier)), stage) is not None
