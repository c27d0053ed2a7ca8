"""The mechanisms that the paper credits its designs' gains to, each taken away from designs that have it.

An ablation is one choice of the grammar changed in the repaired design (`asiarc/researcher/designs.py`), so that
nothing else differs but the width of the MLP that keeps the sizes equal. The entropy term and the retention as
released are not in the grammar: there the designs' own files are used. Gates are looked into after training
(`asiarc/studies/probe.py`).
"""

from __future__ import annotations

from asiarc.archive.results import paired_by_seed
from asiarc.core.errors import EvidenceError
from asiarc.core.genome import Genome
from asiarc.evidence import decides
from asiarc.evidence.effects import Effect
from asiarc.models.baselines import baseline_source
from asiarc.researcher.designs import design
from asiarc.researcher.render import render
from asiarc.studies import Study
from asiarc.studies.verdicts import USEFUL, both, stance, told, verdict
from reproductions.headline import headline_source

FULL_NAMES = {
    "path": "path_gate_fusion_net",
    "sharp": "content_sharp_router",
    "fusion": "fusion_gated_fir_net",
    "hier": "hier_gate_net",
    "ada": "ada_multi_path_gate_net",
}
ABLATIONS = {
    "sharp, no temperature": {"temperature": "none"},
    "ada, no temperature": {"temperature": "none"},
    "sharp, no statistics": {"statistics": "none"},
    "path, no statistics": {"statistics": "none"},
    "sharp, fixed sum": {"router": "sum"},
    "ada, fixed sum": {"router": "sum"},
    "fusion, softmax": {"router": "softmax"},
    "ada, sigmoid": {"router": "sigmoid"},
    "hier, no floor": {"floor": "none"},
    "ada, no floor": {"floor": "none"},
    "hier, flat": {"router": "softmax"},
    "path, flat": {"router": "softmax"},
}

IN_TWO_DESIGNS = {
    "a temperature": (("sharp", "sharp, no temperature"), ("ada", "ada, no temperature")),
    "statistics": (("sharp", "sharp, no statistics"), ("path", "path, no statistics")),
    "a router": (("sharp", "sharp, fixed sum"), ("ada", "ada, fixed sum")),
    "sigmoid gates": (("fusion", "fusion, softmax"), ("ada, sigmoid", "ada")),
    "floors": (("hier", "hier, no floor"), ("ada", "ada, no floor")),
    "two stages": (("hier", "hier, flat"), ("path", "path, flat")),
}
"""Mechanism to (with it, without it) in each of the two designs that it was taken from, or put into."""


def changed(name):
    """A design of the grammar with its ablation's choice changed, as source."""
    genome = design(FULL_NAMES[name.partition(",")[0]])
    return render(Genome(**genome.model_dump() | ABLATIONS.get(name, {})))


WITH_GATES = ("sharp", "sharp, no temperature", "ada", "ada, no temperature", "ada, no floor", "hier", "hier, no floor")

mechanisms = Study(
    mixers={"delta_net": baseline_source("delta_net")} | {name: changed(name) for name in (*FULL_NAMES, *ABLATIONS)},
    seeds=10,
    steps=125,
    watched=WITH_GATES,
)
entropy = Study(
    mixers={
        "without": headline_source("ada_multi_path_gate_net"),
        "rewarded": headline_source("ada_multi_path_gate_net", ENTROPY=0.02),
        "punished": headline_source("ada_multi_path_gate_net", ENTROPY=-0.02),
    },
    seeds=5,
    steps=125,
    size_of="without",
    watched=("without", "rewarded", "punished"),
)
retention = Study(
    mixers={kind: headline_source("fusion_gated_fir_net", RETENTION=kind) for kind in ("none", "chunk", "token")},
    tasks=("text", "reset"),
    seeds=10,
    steps=150,
    size_of="none",
    gated=False,
    watched=("chunk",),
)


def gains(found, pairs):
    """{ahead over behind: paired gain on text}."""
    return {f"{a} over {b}": found.gain(a, b) for a, b in pairs}


def moved(found, quantity, pairs, *, more_is_better=True) -> dict[str, Effect]:
    """The same for a number that the probes took of the gates."""
    effects = {}
    for a, b in pairs:
        ahead, behind = (found.probed(name, quantity) for name in ((a, b) if more_is_better else (b, a)))
        if not ahead or not behind:
            raise EvidenceError(f"the probes of {a} and {b} hold no {quantity}; run the study again")
        # accuracy's direction: the first is better where it is larger
        effects[f"{a} over {b}"] = paired_by_seed(ahead, behind, "overwrite")
    return effects


def ablation(claim, evidence, pairs, note=""):
    """With the mechanism against without it, on text."""
    found = mechanisms.result(evidence.archive, evidence.tier, "mechanisms")
    effects = gains(found, pairs)
    return verdict(claim, stance(effects, useful=USEFUL, against="all"), effects, run=found.run, note=note)


def ablation_of_gates(claim, evidence, pairs, quantity, words, *, more_is_better):
    """With against without, on text and in the gates: both must be better."""
    found = mechanisms.result(evidence.archive, evidence.tier, "mechanisms")
    text, inside = gains(found, pairs), moved(found, quantity, pairs, more_is_better=more_is_better)
    name = both(*(stance(half, useful=USEFUL, against="all") for half in (text, inside)))
    return verdict(claim, name, text, run=found.run, note=f"{words}: {told(inside)}")


@decides("C16a")
def temperature_keeps_gates_open(evidence):
    """Entropy of the gates and bits a byte, with and without a temperature that each head learns."""
    pairs = IN_TWO_DESIGNS["a temperature"]
    words = "entropy of the gates over its maximum"
    return ablation_of_gates("C16a", evidence, pairs, "entropy", words, more_is_better=True)


@decides("C16b")
def statistics_in_the_gate(evidence):
    """What the gate sees beside the token."""
    return ablation("C16b", evidence, IN_TWO_DESIGNS["statistics"])


@decides("C16c")
def a_gate_that_reads_the_token(evidence):
    """A router against the plain sum of the same paths."""
    return ablation("C16c", evidence, IN_TWO_DESIGNS["a router"])


@decides("C17a")
def sigmoid_against_softmax(evidence):
    """Independent gates against gates that share one unit."""
    return ablation("C17a", evidence, IN_TWO_DESIGNS["sigmoid gates"])


@decides("C17b")
def retention_is_learnt_and_helps(evidence):
    """How far the released retention moves, and whether either form beats none on reset, which asks to forget."""
    found = retention.result(evidence.archive, evidence.tier, "retention")
    kinds = {
        kind: {f"{kind} over none on {task}": found.gain(kind, "none", task) for task in ("reset", "text")}
        for kind in ("chunk", "token")
    }
    forgets = {
        kind: stance({f"{kind} over none on reset": effects[f"{kind} over none on reset"]}, useful=USEFUL)
        for kind, effects in kinds.items()
    }
    faded = [
        max(value for name, value in seen["moved"].items() if name.endswith("retention_H"))
        for seen in found.probes["chunk"]["text"].values()
        if "moved" in seen
    ]
    largest = max(faded, default=None)
    seen = "was not seen" if largest is None else f"moved by {largest:.2g} at most from its logit of 9.21"
    return verdict(
        "C17b", both(*forgets.values()), kinds["chunk"] | kinds["token"], run=found.run,
        subject="gain in bits a byte (text) or accuracy (reset)",
        note=f"the retention as released {seen}; on reset, as released: {forgets['chunk']}, per token: "
        f"{forgets['token']}",
    )  # fmt: skip


@decides("C18a")
def floors_keep_paths_alive(evidence):
    """Dead paths and bits a byte, with and without floors."""
    pairs = IN_TWO_DESIGNS["floors"]
    found = mechanisms.result(evidence.archive, evidence.tier, "mechanisms")
    dead = [share for pair in pairs for mixer in pair for share in found.probed(mixer, "dead").values()]
    if dead and not any(dead):
        raise EvidenceError(
            "no path dies with floors or without, so there is nothing that floors could keep alive; it takes a "
            f"training in which paths do die: more than {found.study.steps} steps, more paths or more layers"
        )
    words = "fraction of paths that die without it and live with it"
    return ablation_of_gates("C18a", evidence, pairs, "dead", words, more_is_better=False)


@decides("C18b")
def entropy_term(evidence):
    """The term in the loss, with either sign, against none: entropy of the gates and bits a byte."""
    found = entropy.result(evidence.archive, evidence.tier, "entropy")
    pairs = (("rewarded", "without"),)
    text, inside = gains(found, pairs), moved(found, "entropy", pairs)
    wrong = (("punished", "without"),)
    return verdict(
        "C18b", both(stance(text, useful=USEFUL), stance(inside)), text, run=found.run,
        note=f"entropy of the gates: {told(inside)}; with the other sign: bits a byte {told(gains(found, wrong))}, "
        f"entropy {told(moved(found, 'entropy', wrong))}",
    )  # fmt: skip


@decides("C18c")
def two_stages_against_one(evidence):
    """A hierarchical router against one softmax over the same paths."""
    return ablation("C18c", evidence, IN_TWO_DESIGNS["two stages"])


@decides("C43")
def what_helps_one_design_helps_another(evidence):
    """Each mechanism that was taken from two designs: does it help in both?"""
    found = mechanisms.result(evidence.archive, evidence.tier, "mechanisms")
    effects = {what: gains(found, pairs) for what, pairs in IN_TWO_DESIGNS.items()}
    helps = {what: [effect.low > 0 for effect in pair.values()] for what, pair in effects.items()}
    helping = [pair for what, pair in effects.items() if any(helps[what])]
    if helping:
        name = both(*(stance(pair, useful=USEFUL) for pair in helping))
    else:  # what helps nowhere cannot be carried over
        said = {stance(pair, useful=USEFUL, against="all") for pair in effects.values()}
        name = "contradicted" if said == {"contradicted"} else "inconclusive"
    everything = {what: effect for pair in effects.values() for what, effect in pair.items()}
    counts = ", ".join(f"{what} in {sum(helped)} of {len(helped)}" for what, helped in helps.items())
    return verdict("C43", name, everything, run=found.run, note=f"helps by an interval: {counts} designs")
