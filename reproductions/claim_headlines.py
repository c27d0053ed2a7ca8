"""The five headline designs against the human baselines at equal size and at their own, and whether the gates let
them in.

Every design is trained in each of its forms (`reproductions/headline`): as the original computes, and repaired where a
mechanism of it is inert. One grid of learning rates for all, on a seed of its own. What is said of a design is said of
text, as the paper measures, and of what a text asks to be remembered, as `delta_text` does: text alone is won without a
memory.
"""

from __future__ import annotations

from dataclasses import replace

from asiarc.archive.results import paired_by_seed
from asiarc.core.recipe import ON_GPU, QUICK
from asiarc.evidence import Verdict, decides
from asiarc.evidence.effects import widened
from asiarc.models.baselines import baseline_source
from asiarc.studies import Study
from asiarc.studies.verdicts import USEFUL, both, stance, told, verdict
from reproductions.headline import HEADLINE_NAMES, headline_forms

HUMAN = ("delta_net", "gated_delta_net", "mamba2")
ORDER = (("mamba2", "gated_delta_net"), ("gated_delta_net", "delta_net"))
FORMS = headline_forms()
BASELINES = {name: baseline_source(name) for name in HUMAN}
RATES = (8e-3, 1.6e-2, 3.2e-2, 6.4e-2)
MEMORY = "mixed:zipf"
CAUSAL = {"causality", "future_gradient", "prefix_consistency", "state_handover", "padding", "batch_independence"}
COSTS = {"complexity", "backward_cost"}

WORKING_FORMS = tuple(name for name in FORMS if f"{name}_repaired" not in FORMS)

class Remembered(Study):
    """What a campaign at quick decides on, and as it is judged there."""

    def text(self, tier):
        return super().text(tier) if tier in ON_GPU else QUICK


admitted = Study(mixers=FORMS, tasks=(), tier="smoke", size_of=None)
headlines = Study(mixers=FORMS | BASELINES, seeds=6, learning_rates=RATES)
remembered = Remembered(mixers=FORMS | BASELINES, tasks=(MEMORY,), seeds=8, learning_rates=(4e-3, 8e-3, 1.6e-2))
own_size = Study(
    mixers={"delta_net": BASELINES["delta_net"]} | {name: FORMS[name] for name in WORKING_FORMS},
    seeds=5,
    learning_rates=RATES,
    size_of=None,
)


def forms_of(design):
    """The names of a design's forms."""
    return [name for name in FORMS if name in (design, f"{design}_repaired")]


def measured(evidence):
    """What was found on text, and on what a text asks to be remembered."""
    studies = {"headlines": headlines, "remembered": remembered}
    return [study.result(evidence.archive, evidence.tier, name) for name, study in studies.items()]


def said_of_both(claim, found, gains, stances, note=""):
    """The verdict on a claim that is asked of two studies; its headline is of the first that says what both do.

    `gains` and `stances` of each: the effects, and what those that are judged together say.
    """
    alone = [both(*some) for some in stances]
    name = both(*(one for some in stances for one in some))
    first = alone.index(name) if name in alone else 0
    spoken = verdict(claim, name, gains[first], run=found[first].run, subject=subject_of(found[first]), note=note)
    beside = f"{subject_of(found[1 - first])} ({alone[1 - first]}): {told(gains[1 - first])}"
    return replace(spoken, note="; ".join(filter(None, (beside, spoken.note))))


def subject_of(found):
    """What a gain in a study is of."""
    (task,) = found.study.tasks
    return "gain in bits a byte" if task == "text" else f"gain in bits on {task}"


def beats_the_baselines(claim, evidence, design):
    """Each admitted form against each baseline, in both studies; the claim holds as far as all say the same."""
    found = measured(evidence)
    forms = [form for form in forms_of(design) if found[0].admitted(form)]
    refused = [f"{form} was not admitted: {found[0].outcomes[form]}" for form in forms_of(design) if form not in forms]
    if not forms:
        reasons = "; ".join(refused)
        return Verdict(
            claim, "inconclusive", f"no form passes the gates: {reasons}", evidence_path=f"run {found[0].run}"
        )
    gains, stances = [], []
    for result in found:
        mine = [{f"{form} over {b}": result.gain(form, b, *result.study.tasks) for b in HUMAN} for form in forms]
        stances.append(list(map(stance, mine)))
        gains.append({what: gain for effects in mine for what, gain in effects.items()})
    rates = "; ".join(
        f"learning rates on {result.study.tasks[0]} "
        + ", ".join(f"{mixer} {result.rates[mixer]:g}" for mixer in (*forms, *HUMAN) if mixer in result.rates)
        for result in found
    )
    return said_of_both(claim, found, gains, stances, "; ".join([rates, *refused]))


@decides("C09e")
def path_gate_fusion_net(evidence):
    """Two-stage routing, residual, head gates."""
    return beats_the_baselines("C09e", evidence, "path_gate_fusion_net")


@decides("C09f")
def content_sharp_router(evidence):
    """Content-aware routing with a sharpness a head."""
    return beats_the_baselines("C09f", evidence, "content_sharp_router")


@decides("C09g")
def fusion_gated_fir_net(evidence):
    """Independent gates and retention."""
    return beats_the_baselines("C09g", evidence, "fusion_gated_fir_net")


@decides("C09h")
def hier_gate_net(evidence):
    """Two-stage gate with learnable floors."""
    return beats_the_baselines("C09h", evidence, "hier_gate_net")


@decides("C09i")
def ada_multi_path_gate_net(evidence):
    """One gate of three terms, a floor, an entropy penalty."""
    return beats_the_baselines("C09i", evidence, "ada_multi_path_gate_net")


@decides("C09j")
def order_of_the_baselines(evidence):
    """Mamba2, Gated DeltaNet, DeltaNet."""
    found = measured(evidence)
    gains = [{f"{a} over {b}": result.gain(a, b, *result.study.tasks) for a, b in ORDER} for result in found]
    return said_of_both("C09j", found, gains, [[stance(effects)] for effects in gains])


@decides("C10a")
def gains_are_not_from_size(evidence):
    """Of the forms that beat DeltaNet at their own size: what is left of the gain when the sizes are equal?"""
    matched = headlines.result(evidence.archive, evidence.tier, "headlines")
    own = own_size.result(evidence.archive, evidence.tier, "own_size")
    entrants = [form for form in WORKING_FORMS if matched.admitted(form) and own.admitted(form)]
    at_own = {form: own.gain(form, "delta_net") for form in entrants}
    gaining = [form for form in entrants if widened(at_own[form], len(entrants)).low > 0]  # picked from so many
    if not gaining:
        return verdict(
            "C10a", "inconclusive", at_own, run=own.run, subject="no form gains over DeltaNet at its own size"
        )
    equal = {form: matched.gain(form, "delta_net") for form in gaining}
    lost = {form: paired_by_seed(own.values(form), matched.values(form), "text") for form in gaining}
    name = stance(equal, useful=USEFUL, against="all")
    if name == "reproduced" and any(effect.low > USEFUL for effect in lost.values()):
        name = "partly"
    base = own.size("delta_net") or 1
    sizes = ", ".join(f"{form} {(own.size(form) or 0) / base - 1:+.0%}" for form in gaining)
    return verdict(
        "C10a",
        name,
        equal,
        run=matched.run,
        subject="gain over DeltaNet at equal size",
        note=f"at its own size each gains more by: {told(lost)}; sizes against DeltaNet: {sizes}",
    )


def refused_for(claim, evidence, gates, what, passing):
    """Whether any form is rejected by one of some gates; a form that another gate rejects first is not told.

    Our forms were written to pass the gates, so they can refute the claim and not carry it: the released programs do,
    of which `passing` is how many of how many do what is claimed, None where nobody has counted.
    """
    found = admitted.result(evidence.archive, evidence.tier, "admitted")
    guilty = {form: o for form, o in found.outcomes.items() if o.gate in gates}
    unknown = {form: o for form, o in found.outcomes.items() if o.kind != "scored" and form not in guilty}
    programs = evidence.paper.printed["programs"]["examined"]
    of_all = passing is not None and passing == programs
    told_of = f"{passing} of {programs} released programs" if passing is not None else "no released program was asked"
    name = "contradicted" if guilty else "inconclusive" if unknown else "reproduced" if of_all else "partly"
    passed = len(FORMS) - len(guilty) - len(unknown)
    reasons = "".join(f"; {form}: {outcome}" for form, outcome in (guilty | unknown).items())
    return Verdict(
        claim,
        name,
        f"{passed} of {len(FORMS)} forms of the {len(HEADLINE_NAMES)} designs are {what}{reasons}; {told_of}",
        n=len(FORMS),
        test="executed gates: " + ", ".join(sorted(gates)),
        evidence_path=f"run {found.run}",
        our_value=f"{passed} of {len(FORMS)}",
        note="our forms were written to pass the gates; `asiarc audit 106.json` asks the released programs again",
    )


@decides("C15a")
def designs_are_causal(evidence):
    """Executed causality, gradients to the future, prefixes, hand-over of the state, padding, rows."""
    passing = evidence.paper.printed["programs"]["independent_of_what_follows"]
    return refused_for("C15a", evidence, CAUSAL, "causal and carry their state exactly", passing)


@decides("C15b")
def designs_are_sub_quadratic(evidence):
    """Counted operations and memory at growing lengths."""
    passing = evidence.paper.printed["programs"].get("sub_quadratic")
    return refused_for("C15b", evidence, COSTS, "sub-quadratic in counted operations and memory", passing)
