"""What the campaign `delta_text` found, on fresh seeds and fresh items, against the paper's headline."""

from __future__ import annotations

from asiarc.evidence import Verdict, decides
from asiarc.studies.verdicts import USEFUL, cost, stance
from asiarc.tasks import get_task

COMMAND = "pytest campaigns/campaign_delta_text.py"


def verdict_on(claim, evidence, baseline, gain, result):
    """An interval above zero speaks for the claim, one that holds no useful gain against it; a tie is called one."""
    gains = {f"{result.winner.name} over {baseline}": gain}
    name = stance(gains, useful=USEFUL)
    winner, is_tie, task = result.winner, gain.low <= 0 <= gain.high, result.first_that_decides("confirm")
    unit = "bits a byte that is asked for" if get_task(task).trains_on_answers else "bits a byte"
    size = f"equal within {max(-gain.low, gain.high):.3f}" if is_tie else f"{gain.mean:+.3f}"
    return Verdict(
        claim,
        name,
        f"{task}: {winner.name}, picked from {result.evaluated}, against {baseline}, {unit}: {gain.explain()}",
        effect=gain.mean,
        low=gain.low,
        high=gain.high,
        n=gain.n,
        test=gain.test,
        tier=evidence.tier,
        command=f"{COMMAND} --tier {evidence.tier}",
        evidence_path=f"run {result.run}",
        our_value=f"{size} {unit}",
        note=cost(gains) if name == "inconclusive" else "",
    )


@decides("C29")
def winner_beats_delta_net(evidence):
    """The winner against the design that the search started from."""
    result = evidence.campaign("delta_text")
    return verdict_on("C29", evidence, "delta_net", result.winner.gain_over("delta_net"), result)


@decides("C30")
def winner_beats_every_baseline(evidence):
    """The winner against the strongest baseline of verify; confirm, where the gain is measured, chose nothing."""
    result = evidence.campaign("delta_text")
    best = result.best_baseline("verify")
    return verdict_on("C30", evidence, best.name, result.winner.gain_over(best.name), result)
