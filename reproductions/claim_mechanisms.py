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
from asiarc.studies.verdicts import USEFUL, stance, told, verdict
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


def changed(name):
    """A design of the grammar with its ablation's choice changed, as source."""
    genome = design(FULL_NAMES[name.partition(",")[0]])
    return render(Genome(**genome.model_dump() | ABLATIONS.get(name, {})))


WITH_GATES = ("sharp", "sharp, no temperature", "ada", "ada, no temperature", "ada, no floor", "hier", "hier, no floor")

mechanisms = Study(
    mixers={"delta_net": baseline_source("delta_net")} | {name: changed(name) for name in (*FULL_NAMES, *ABLATIONS)},
    seeds=5,
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
    seeds=5,
    steps=150,
    size_of="none",
    gated=False,
    watched=("chunk",),
)


def gains(found, pairs):
    """{ahead over behind: paired gain on text}, widened for the pairs."""
    return {f"{a} over {b}": found.gain(a, b, num_comparisons=len(pairs)) for a, b in pairs}


def moved(found, quantity, pairs, *, more_is_better=True) -> dict[str, Effect]:
    """The same for a number that the probes took of the gates."""
    effects = {}
    for a, b in pairs:
        ahead, behind = (found.probed(name, quantity) for name in ((a, b) if more_is_better else (b, a)))
        if not ahead or not behind:
            raise EvidenceError(f"the probes of {a} and {b} hold no {quantity}; run the study again")
        # accuracy's direction: the first is better where it is larger
        effects[f"{a} over {b}"] = paired_by_seed(ahead, behind, "overwrite", num_comparisons=len(pairs))
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
    both = {stance(text, useful=USEFUL, against="all"), stance(inside, useful=USEFUL, against="all")}
    name = both.pop() if len(both) == 1 else "partly" if "reproduced" in both else "inconclusive"
    return verdict(claim, name, text, run=found.run, note=f"{words}: {told(inside)}")


@decides("C16a")
def temperature_keeps_gates_open(evidence):
    """Entropy of the gates and bits a byte, with and without a temperature that each head learns."""
    pairs = (("sharp", "sharp, no temperature"), ("ada", "ada, no temperature"))
    words = "entropy of the gates over its maximum"
    return ablation_of_gates("C16a", evidence, pairs, "entropy", words, more_is_better=True)


@decides("C16b")
def statistics_in_the_gate(evidence):
    """What the gate sees beside the token."""
    return ablation("C16b", evidence, (("sharp", "sharp, no statistics"), ("path", "path, no statistics")))


@decides("C16c")
def a_gate_that_reads_the_token(evidence):
    """A router against the plain sum of the same paths."""
    return ablation("C16c", evidence, (("sharp", "sharp, fixed sum"), ("ada", "ada, fixed sum")))


@decides("C17a")
def sigmoid_against_softmax(evidence):
    """Independent gates against gates that share one unit."""
    return ablation("C17a", evidence, (("fusion", "fusion, softmax"), ("ada, sigmoid", "ada")))


@decides("C17b")
def retention_is_learnt_and_helps(evidence):
    """How far the released retention moves, and whether either form beats none on text and on reset."""
    found = retention.result(evidence.archive, evidence.tier, "retention")
    effects = {
        f"{kind} over none on {task}": found.gain(kind, "none", task, num_comparisons=4)
        for kind in ("chunk", "token")
        for task in ("text", "reset")
    }
    kinds = {
        kind: stance({what: e for what, e in effects.items() if what.startswith(kind)}, useful=USEFUL, against="all")
        for kind in ("chunk", "token")
    }
    faded = [
        max(value for name, value in seen["moved"].items() if name.endswith("retention_H"))
        for seen in found.probes["chunk"]["text"].values()
        if "moved" in seen
    ]
    if kinds["chunk"] == kinds["token"]:
        name = kinds["chunk"]
    else:
        name = "partly" if "reproduced" in kinds.values() else "inconclusive"
    largest = max(faded, default=None)
    seen = "was not seen" if largest is None else f"moved by {largest:.2g} at most from its logit of 9.21"
    return verdict(
        "C17b", name, effects, run=found.run, subject="gain in bits a byte (text) or accuracy (reset)",
        note=f"the retention as released {seen}; as released: {kinds['chunk']}, per token: {kinds['token']}",
    )  # fmt: skip


@decides("C18a")
def floors_keep_paths_alive(evidence):
    """Dead paths and bits a byte, with and without floors."""
    pairs = (("hier", "hier, no floor"), ("ada", "ada, no floor"))
    words = "fraction of paths that die without it and live with it"
    return ablation_of_gates("C18a", evidence, pairs, "dead", words, more_is_better=False)


@decides("C18b")
def entropy_term(evidence):
    """The term in the loss, with either sign, against none: entropy of the gates and bits a byte."""
    found = entropy.result(evidence.archive, evidence.tier, "entropy")
    pairs = (("rewarded", "without"),)
    text, inside = gains(found, pairs), moved(found, "entropy", pairs)
    both = {stance(text, useful=USEFUL), stance(inside)}
    name = both.pop() if len(both) == 1 else "partly" if "reproduced" in both else "inconclusive"
    wrong = (("punished", "without"),)
    return verdict(
        "C18b", name, text, run=found.run,
        note=f"entropy of the gates: {told(inside)}; with the other sign: bits a byte {told(gains(found, wrong))}, "
        f"entropy {told(moved(found, 'entropy', wrong))}",
    )  # fmt: skip


@decides("C18c")
def two_stages_against_one(evidence):
    """A hierarchical router against one softmax over the same paths."""
    return ablation("C18c", evidence, (("hier", "hier, flat"), ("path", "path, flat")))
