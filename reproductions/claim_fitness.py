"""The fitness: does the formula give the stored score, and what did the judge say of DeltaNet?"""

from __future__ import annotations

from statistics import fmean

from asiarc.evidence import Verdict, decides
from asiarc.evidence.paper import fitness

SOURCE = "reproductions/data/printed.toml"


@decides("C02")
def formula_gives_the_stored_score(evidence):
    """The one node whose loss and benchmark are known; the judge's score is the one of two decimals that fits best."""
    seed = evidence.paper.printed["delta_net_seed"]
    benchmark, stored = fmean(seed["benchmark"]), seed["stored_score"]
    tasks = fmean(seed["benchmark"][:-1])
    judge = judged(evidence)
    ours = fitness(seed["loss"], benchmark, judge)
    without = min(abs(fitness(seed["loss"], tasks, k / 100) - stored) for k in range(100, 1_001))
    return Verdict(
        "C02",
        "reproduced" if abs(ours - stored) < 1e-9 else "contradicted",
        f"with the judge at {judge:.2f} the formula gives {ours:.10f}, the release stores {stored:.10f}",
        effect=ours - stored,
        n=1,
        test="exact arithmetic, judge to two decimals",
        evidence_path=SOURCE,
        our_value=f"{ours:.10f}",
        note="the stored score is the sum, not eq. 2's third of it; the benchmark mean counts the table's "
        f"own rounded average as a 13th task (the 12 tasks alone miss the score by {without:.1g} for every "
        "judge)",
    )


@decides("C21a")
def judge_is_calibrated(evidence):
    """The judgement that is left when the other two terms are taken from the stored score."""
    judge, anchor = judged(evidence), evidence.paper.printed["delta_net_seed"]["judge_anchor"]
    return Verdict(
        "C21a",
        "reproduced" if abs(judge - anchor) < 0.5 else "contradicted",
        f"DeltaNet was judged {judge:.2f}; its rubric pins it at {anchor:g}",
        effect=judge - anchor,
        n=1,
        test="exact arithmetic",
        evidence_path=SOURCE,
        our_value=f"{judge:.2f}",
        note="one judgement of one model; no repeat is released",
    )


def judged(evidence):
    """The judge's score of DeltaNet, 1 to 10, to the two decimals it is given in."""
    seed = evidence.paper.printed["delta_net_seed"]
    rest = fitness(seed["loss"], fmean(seed["benchmark"]), 1.0)
    return round(1 + 9 * (seed["stored_score"] - rest), 2)
