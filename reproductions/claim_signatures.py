"""Published orders of the baselines, found again in the trials of `delta_text` (equal sizes, paired seeds): text on the
five seeds of confirm, the checks on the three of verify. The harness's own control: where these fail, a gain measured
by it means nothing."""

from __future__ import annotations

from asiarc.evidence import Verdict, decides

ON_TEXT = (("gated_delta_net", "delta_net"), ("mamba2", "delta_net"), ("delta_net", "linear_attention"))
ON_OVERWRITE = (("delta_net", "linear_attention"), ("gated_delta_net", "linear_attention"))
ON_RESET = (("gated_delta_net", "delta_net"), ("mamba2", "delta_net"))


def verdict_on(claim, evidence, task, stage, pairs):
    """All intervals above zero: found again; one below: not; intervals are widened for the number of pairs."""
    result = evidence.campaign("delta_text")
    gains = {pair: result.compare(*pair, task, stage, num_comparisons=len(pairs)) for pair in pairs}
    if all(gain.low > 0 for gain in gains.values()):
        name = "reproduced"
    elif any(gain.high < 0 for gain in gains.values()):
        name = "contradicted"
    else:
        name = "inconclusive"
    weakest = min(gains.values(), key=lambda gain: gain.low)
    shown = ", ".join(f"{a} over {b} {g.mean:+.3f} [{g.low:+.3f}, {g.high:+.3f}]" for (a, b), g in gains.items())
    return Verdict(
        claim,
        name,
        f"{task}: {shown}",
        effect=weakest.mean,
        low=weakest.low,
        high=weakest.high,
        n=weakest.n,
        test=f"{weakest.test}, the weakest of {len(pairs)}",
        tier=evidence.tier,
        command=f"pytest campaigns/campaign_delta_text.py --tier {evidence.tier}",
        evidence_path=f"run {result.run}",
        our_value=f"{weakest.mean:+.3f} at least",
    )


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
