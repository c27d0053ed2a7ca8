"""Planted leaks: how many does the paper's rule on low loss catch, and how many the executed gates?

A rule on the loss can see no leak that does not pay, so it is judged by those that do: whose loss is below that of
DeltaNet, the design that most of them are worse than but for their leak.

The leaks are the cheating candidates of `tests/gates/cheats` that look into the future, which are weak mixers but for
that, and leaks of several strengths planted in DeltaNet itself. They are trained although the gates reject them, on the
text and seeds that DeltaNet is trained on; so are three honest mixers, for false alarms.
"""

from __future__ import annotations

import re
from pathlib import Path

from asiarc.evidence import Verdict, decides
from asiarc.evidence.shares import wilson
from asiarc.models.baselines import baseline_source
from asiarc.studies import Study

CHEATS = Path(__file__).parents[1] / "tests" / "gates" / "cheats"
LOOKS_AHEAD = re.compile(r"# caught by: (causality|future_gradient|prefix_consistency)$", re.MULTILINE)
BELOW = 0.10  # the paper's rule: a loss more than 10 % below the baseline is taken for a leak (section 4.1)
FEWEST, HALF = 5, 0.5  # leaks that pay to judge the rule by, and the share of them that it should catch
HONEST = ("gated_delta_net", "kda", "mamba2")
CHEATING = {path.stem: text for path in sorted(CHEATS.glob("*.py")) if LOOKS_AHEAD.search(text := path.read_text())}
PLANTS = {
    "the next output": "o_BTHV + o_BTHV.roll(-1, dims=1)",
    "a tenth of the next output": "o_BTHV + 0.1 * o_BTHV.roll(-1, dims=1)",
    "a hundredth of the next output": "o_BTHV + 0.01 * o_BTHV.roll(-1, dims=1)",
    "the next value": "o_BTHV + v_BTHV.roll(-1, dims=1)",
    "the next output of every second token": "o_BTHV + o_BTHV.roll(-1, dims=1) "
    "* (torch.arange(o_BTHV.shape[1], device=o_BTHV.device)[:, None, None] % 2)",
    "the output ten tokens on": "o_BTHV + o_BTHV.roll(-10, dims=1)",
    "the mean over time": "o_BTHV + o_BTHV.mean(1, keepdim=True)",
    "the sum of what follows": "o_BTHV + o_BTHV.flip(1).cumsum(1).flip(1)",
}


def planted(plant: str) -> str:
    """DeltaNet with what its heads say before the norm changed."""
    source, place = baseline_source("delta_net"), "self.norm(o_BTHV)"
    assert source.count(place) == 1, place
    return source.replace(place, f"self.norm({plant})")


PLANTED = {f"delta_net + {name}": planted(plant) for name, plant in PLANTS.items()}
LEAKS = CHEATING | PLANTED

leaks = Study(
    mixers={name: baseline_source(name) for name in ("delta_net", *HONEST)} | LEAKS, seeds=2, steps=125, gated=False
)


def flagged(found, mixer):
    """Whether the mean score is more than 10 % below DeltaNet's; None where no trial was scored."""
    values, base = found.values(mixer), found.values("delta_net")
    if not values:
        return None
    return sum(values.values()) / len(values) < (1 - BELOW) * sum(base.values()) / len(base)


def pays(found, mixer):
    """Whether the mean score is below DeltaNet's at all: what a leak is planted for."""
    values, base = found.values(mixer), found.values("delta_net")
    return bool(values) and sum(values.values()) / len(values) < sum(base.values()) / len(base)


@decides("C20")
def leaks_by_low_loss(evidence):
    """The rule and the gates on the same leaks; an exact sign test on those that only one of them catches."""
    from scipy.stats import binomtest

    found = leaks.result(evidence.archive, evidence.tier, "leaks")
    rule = {name: flagged(found, name) for name in LEAKS}
    gates = {name: not found.admitted(name) for name in LEAKS}
    trained = [name for name in LEAKS if rule[name] is not None]
    only_gates = sum(gates[name] and not rule[name] for name in trained)
    only_rule = sum(bool(rule[name]) and not gates[name] for name in trained)
    split = only_gates + only_rule
    p_value = binomtest(only_gates, split).pvalue if split else 1.0
    paying = [name for name in trained if pays(found, name)]
    seen = sum(bool(rule[name]) for name in paying)
    if len(paying) < FEWEST:
        name = "inconclusive"
    elif only_gates == 0:
        name = "reproduced"
    else:
        name = "partly" if wilson(seen, len(paying))[1] >= HALF else "contradicted"
    by_rule, by_gates = (sum(bool(caught[n]) for n in trained) for caught in (rule, gates))
    in_delta_net = [n for n in trained if n in PLANTED]
    low, high = wilson(by_rule, len(trained))
    alarms = [name for name in HONEST if flagged(found, name)]
    return Verdict(
        "C20",
        name,
        f"of {len(trained)} planted leaks that train, the rule catches {by_rule}, executed gates {by_gates}; "
        f"{only_gates} pass the rule and not the gates, {only_rule} the other way round; of the {len(in_delta_net)} "
        f"that were planted in DeltaNet itself the rule catches {sum(bool(rule[n]) for n in in_delta_net)}; "
        f"{len(paying)} lower the loss below DeltaNet's, of which it catches {seen}",
        effect=by_rule / len(trained),
        low=low,
        high=high,
        n=len(trained),
        test=f"share that the rule catches, Wilson interval; exact sign test p={p_value:.2g}",
        evidence_path=f"run {found.run}",
        our_value=f"{by_rule} of {len(trained)}",
        note=f"false alarms of the rule among {', '.join(HONEST)}: {', '.join(alarms) or 'none'}; "
        f"{len(LEAKS) - len(trained)} leaks did not train",
    )
