"""Published orders of the baselines, found again in the trials of `delta_text` (equal sizes, paired seeds): text on the
five seeds of confirm, the checks on the three of verify. The harness's own control: where these fail, a gain measured
by it means nothing."""

from __future__ import annotations

from dataclasses import replace

from asiarc.evidence import decides
from asiarc.studies.verdicts import stance, verdict

ON_TEXT = (("gated_delta_net", "delta_net"), ("mamba2", "delta_net"), ("delta_net", "linear_attention"))
ON_OVERWRITE = (("delta_net", "linear_attention"), ("gated_delta_net", "linear_attention"))
ON_RESET = (("gated_delta_net", "delta_net"), ("mamba2", "delta_net"))


def verdict_on(claim, evidence, task, stage, pairs):
    """All intervals above zero: found again; one below: not."""
    result = evidence.campaign("delta_text")
    gains = {f"{a} over {b}": result.compare(a, b, task, stage, num_comparisons=1) for a, b in pairs}
    command = f"pytest campaigns/campaign_delta_text.py --tier {evidence.tier}"
    return replace(verdict(claim, stance(gains), gains, run=result.run, subject=task), command=command)


@decides("C31")
def order_on_text(evidence):
    """Gates and the delta rule in bits a byte."""
    return verdict_on("C31", evidence, "text", "confirm", ON_TEXT)


@decides("C32")
def delta_rule_overwrites(evidence):
    """The delta rule on bindings that change."""
    return verdict_on("C32", evidence, "overwrite", "verify", ON_OVERWRITE)


@decides("C33")
def gates_reset(evidence):
    """Gates on bindings that all become void at once."""
    return verdict_on("C33", evidence, "reset", "verify", ON_RESET)
