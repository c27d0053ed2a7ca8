"""Published orders of the baselines at equal sizes, paired by seed: where these fail, a gain measured here means
nothing. On text and on reset in studies, on overwrite in the trials of `delta_text`'s verify."""

from __future__ import annotations

from dataclasses import replace

from asiarc.evidence import decides
from asiarc.models.baselines import baseline_source
from asiarc.studies import Study
from asiarc.studies.verdicts import stance, verdict

ON_TEXT = (("gated_delta_net", "delta_net"), ("mamba2", "delta_net"), ("delta_net", "linear_attention"))
ON_OVERWRITE = (("delta_net", "linear_attention"), ("gated_delta_net", "linear_attention"))
ON_RESET = (("gated_delta_net", "delta_net"), ("mamba2", "delta_net"))


def named(pairs):
    """The baselines of some pairs, their source by name."""
    return {name: baseline_source(name) for name in sorted({name for pair in pairs for name in pair})}


on_text = Study(mixers=named(ON_TEXT), seeds=6, learning_rates=(8e-3, 1.6e-2, 3.2e-2, 6.4e-2))
# Three seeds of a campaign told 0.031 +- 0.034: 18 tell 0.02 from nothing (results/LOG.md)
on_reset = Study(mixers=named(ON_RESET), tasks=("reset",), seeds=18)


def in_study(claim, evidence, study, name, pairs):
    """All gains above zero: found again; one below: not."""
    found = study.result(evidence.archive, evidence.tier, name)
    (task,) = found.study.tasks
    gains = {f"{a} over {b}": found.gain(a, b, task) for a, b in pairs}
    return verdict(claim, stance(gains), gains, run=found.run, subject=task)


@decides("C31")
def order_on_text(evidence):
    """Gates and the delta rule in bits a byte."""
    return in_study("C31", evidence, on_text, "on_text", ON_TEXT)


@decides("C32")
def delta_rule_overwrites(evidence):
    """The delta rule on bindings that change."""
    result = evidence.campaign("delta_text")
    gains = {f"{a} over {b}": result.compare(a, b, "overwrite", "verify", num_comparisons=1) for a, b in ON_OVERWRITE}
    command = f"pytest campaigns/campaign_delta_text.py --tier {evidence.tier}"
    return replace(verdict("C32", stance(gains), gains, run=result.run, subject="overwrite"), command=command)


@decides("C33")
def gates_reset(evidence):
    """Gates on bindings that all become void at once."""
    return in_study("C33", evidence, on_reset, "on_reset", ON_RESET)
