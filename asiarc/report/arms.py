"""The arms of a campaign side by side: what each way of searching found with the same number of candidates.

Two comparisons with the full loop, each with its interval: the winners, paired on the fresh seeds of the last stage
that ran (one campaign seed, so this says which winner is better, not which arm finds better ones), and the mean gain
of all scored candidates of explore (a bootstrap over candidates).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from asiarc.archive.results import CampaignResult, paired_by_seed
from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.core.seeds import seed_of

RESAMPLES = 2000


def arm_lines(archive: Archive, runs: Iterable[tuple[str, str, str]]) -> list[str]:
    """A line for each arm of each campaign; takes (campaign, arm, run), the full loop with an empty arm."""
    found = [(name, arm, CampaignResult.load(archive, run)) for name, arm, run in runs]
    full = {name: result for name, arm, result in found if not arm}
    return [line for name, arm, result in found for line in _lines(name, arm, result, full.get(name))]


def _lines(name: str, arm: str, result: CampaignResult, full: CampaignResult | None) -> list[str]:
    rows = result.archive.results(result.run)
    gains = [row["gain"] for row in rows if row["gain"] is not None]
    cpu_s = sum(trial.cpu_s for trial in result.trials("explore"))
    best = f"best in explore {max(gains):+.3f}, mean {fmean(gains):+.3f}" if gains else "nothing scored"
    lines = [
        f"{name} {arm or 'full loop'}: {len(rows)} candidates, {len(gains)} scored, {cpu_s:.0f} CPU-s; {best}"
    ]
    if full is not None and arm:
        lines.append(f"  full loop against it: {_winners(full, result)}; {_means(full, gains)}")
    return lines


def _winners(full: CampaignResult, other: CampaignResult) -> str:
    """The paired gain of the full loop's winner over the arm's, on fresh seeds."""
    stage = "confirm" if full.archive.stage_result(full.run, "confirm") else "verify"
    try:
        mine, theirs = full.winner, other.winner
        task = full.deciding_tasks(stage)[0]
        effect = paired_by_seed(mine.values(task, stage), theirs.values(task, stage), task)
    except EvidenceError as error:
        return f"no winners to compare ({error})"
    return (
        f"winner {effect.mean:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}] on {task} (n = {effect.n} seeds)"
    )


def _means(full: CampaignResult, theirs: Sequence[float]) -> str:
    """The difference of the mean explore gains, with a 95 % bootstrap interval over candidates."""
    import numpy as np

    mine = [row["gain"] for row in full.archive.results(full.run) if row["gain"] is not None]
    if len(mine) < 2 or len(theirs) < 2:
        return "too few scored candidates to compare means"
    rng = np.random.default_rng(seed_of("arms", len(mine), len(theirs)))
    draws = [rng.choice(side, (RESAMPLES, len(side))).mean(axis=1) for side in (mine, list(theirs))]
    low, high = np.quantile(draws[0] - draws[1], [0.025, 0.975])
    return f"mean gain {fmean(mine) - fmean(theirs):+.3f} [{low:+.3f}, {high:+.3f}] (n = {len(mine)}, {len(theirs)})"
