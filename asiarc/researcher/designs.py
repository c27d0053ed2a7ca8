"""Named genomes: the panel's mixers, and the five headline architectures of the paper in repaired form.

A baseline's genome renders to the code of its file in `asiarc.models.baselines` (equal content addresses), so
a search that starts from a baseline knows what it is made of, and proposing one again is recognised. The mixers in
`ALIKE` are laid out otherwise than their files and compute the same with the same weights; of those in `KIN` the
memory does, and what differs beside it is said.

The five are those of arXiv 2507.18074; two have released programs, three had to be rebuilt from the text and
their nearest released relatives. Repaired: every mechanism reaches the output (no slots that only a softmax
denominator sees, no scale that the norm cancels, no decay that is applied once a chunk), all are causal and
carry their state exactly, and entropy terms are left out because a mixer cannot add to the loss.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

from asiarc.core.candidate import content_address
from asiarc.core.errors import CandidateError, unknown_name
from asiarc.core.genome import Genome, defaults
from asiarc.models.baselines import baseline_source
from asiarc.researcher.render import render

_DELTA_NET: dict[str, Any] = {"memory": "delta", "features": "silu", "key_norm": "l2", "convolution": 4}
_MULTI_PATH: dict[str, Any] = _DELTA_NET | {"short_fir": 3, "long_fir": 31, "value_path": True}

BASELINES: dict[str, Genome] = {
    "linear_attention": Genome(memory="additive", features="elu1"),
    "retnet": Genome(memory="retention", rotary=True, output_gate="silu"),
    "gla": Genome(memory="gla", decay="sigmoid", output_gate="silu"),
    "mamba2": Genome(
        memory="ssd",
        coupled_input=True,
        features="silu",
        shared_keys=True,
        convolution=4,
        residual="skip",
        output_gate="silu",
    ),
    "delta_net": Genome(**_DELTA_NET),
    "gated_delta_net": Genome(**_DELTA_NET | {"memory": "gated_delta", "output_gate": "silu"}),
    "kda": Genome(**_DELTA_NET | {"memory": "kda", "output_gate": "sigmoid", "gate_rank": "low"}),
    "gated_delta_product": Genome(
        **_DELTA_NET | {"memory": "gated_delta_product", "negative_eigenvalues": True, "output_gate": "silu"}
    ),
}
"""The mixers of the panel whose files are the grammar's own."""

ALIKE: dict[str, Genome] = {
    "comba": Genome(**_DELTA_NET | {"memory": "comba", "output_gate": "sigmoid"}),
    "momentum_delta_net": Genome(**_DELTA_NET | {"memory": "momentum_delta", "output_gate": "silu"}),
    "mamba3": Genome(
        memory="trapezoidal",
        decay="rate",
        turn=True,
        key_norm="rms",
        shared_keys=True,
        residual="skip",
        norm="none",
        output_gate="silu",
    ),
    "gated_delta_net_2": Genome(
        **_DELTA_NET | {"memory": "gated_delta_2", "output_gate": "sigmoid", "gate_rank": "biased"}
    ),
    "hgrn2": Genome(memory="hgrn2", features="silu", norm="wide"),
    "mlstm": Genome(memory="mlstm", convolution=4, convolved="inputs", residual="input", output_gate="sigmoid"),
    "mesa_net": Genome(**_DELTA_NET | {"memory": "mesa", "convolved": "keys"}),
    "log_linear_gated_delta_net": Genome(**_DELTA_NET | {"memory": "log_linear", "output_gate": "silu"}),
    "sliding_window_attention": Genome(memory="window", features="silu", convolution=4, rotary=True, norm="none"),
}
"""The mixers of the panel that compute what their genomes compute, with the same weights."""

KIN: dict[str, Genome] = {"rwkv7": Genome(memory="rwkv7", shift=True, output_gate="sigmoid", gate_rank="low")}
DIFFERS: dict[str, str] = {
    "rwkv7": "the token before has one share in all projections, where the file learns one each for r, k, v, w, a and "
    "g; an RMSNorm a head for its LayerNorm; no bonus of the current token; the gate's sigmoid after both its layers, "
    "where the file has it between them"
}
"""The mixers of the panel whose memory the grammar can write, and what differs beside it."""

LEFT_OUT: dict[str, str] = {
    "softmax_attention": "its state grows with the text",
    "forgetting_attention": "its state grows with the text",
}
"""The mixers of the panel that the grammar does not write: a parent has a state of fixed size, and so has its child.
Windows of attention are a path of their own and a memory."""

WRITTEN: dict[str, Genome] = BASELINES | ALIKE
PANEL_DESIGNS: dict[str, Genome] = WRITTEN | KIN

HEADLINES: dict[str, Genome] = {
    # Copy against context, then short, long and delta; a small gated residual; a head gate after the norm.
    "path_gate_fusion_net": Genome(
        **_MULTI_PATH,
        router="hierarchical",
        router_first="value",
        router_depth="mlp",
        statistics="all",
        temperature="learnable",
        floor="fixed",
        residual="gated",
        output_gate="head",
    ),
    # A softmax over four paths, fed by the mean and deviation of each, sharpened a head at a time.
    "content_sharp_router": Genome(
        **_MULTI_PATH | {"long_fir": 25},
        router="softmax",
        router_depth="mlp",
        statistics="moments",
        temperature="learnable",
        lean="value",
    ),
    # Independent sigmoid gates; the retention, once a chunk in the release, is the gated delta rule's decay.
    "fusion_gated_fir_net": Genome(
        **_MULTI_PATH | {"memory": "gated_delta", "long_fir": 63},
        router="sigmoid",
        router_depth="mlp",
        statistics="magnitude",
        temperature="learnable",
        floor="fixed",
        lean="value",
    ),
    # Delta against local, then value, short and long; floors that each head learns for each path.
    "hier_gate_net": Genome(
        **_MULTI_PATH,
        router="hierarchical",
        router_first="memory",
        temperature="learnable",
        floor="learnable",
        lean="value",
    ),
    # Logits that sum a head's and a token's term (one for all heads is part of the first); a small floor.
    "ada_multi_path_gate_net": Genome(**_MULTI_PATH, router="softmax", temperature="learnable", floor="fixed"),
}

DESIGNS: dict[str, Genome] = PANEL_DESIGNS | HEADLINES


def design(name: str) -> Genome:
    """The genome of a named design; `CandidateError` names the nearest one where none has that name."""
    if name not in DESIGNS:
        raise CandidateError(unknown_name("design", name, DESIGNS))
    return DESIGNS[name]


@cache
def baseline_genomes() -> dict[str, Genome]:
    """The baselines' genomes by the content address of their files."""
    return {content_address(baseline_source(name)): genome for name, genome in WRITTEN.items()}


@cache
def other_layouts() -> dict[str, str]:
    """By the address of a genome's source, that of the baseline's file which computes the same."""
    return {content_address(render(genome)): content_address(baseline_source(name)) for name, genome in ALIKE.items()}


# --- the panel's mixers with and without what all of them could have --------------------------------------------------

PARTS: dict[str, dict[str, Any]] = {
    "gate": {"output_gate": "silu"},
    "skip": {"residual": "skip"},
    "convolution": {"convolution": 4},
}
"""What a mixer may have beside its memory, and the form that is added where it has none."""


def variants(name: str) -> dict[str, Genome]:
    """A mixer of the panel with and without an output gate, a skip and a short convolution, its own form first.

    Names say what is added and what is taken away (``delta_net+gate-convolution``); what a mixer has keeps its form.
    Raises `CandidateError` for what the grammar cannot write.
    """
    if name not in PANEL_DESIGNS:
        raise CandidateError(unknown_name("mixer of the panel", name, PANEL_DESIGNS))
    genome = PANEL_DESIGNS[name]
    found = {}
    for changed in product((False, True), repeat=len(PARTS)):
        label, choices = name, genome.model_dump()
        for (part, added), change in zip(PARTS.items(), changed, strict=True):
            (field,) = added
            has = choices[field] != defaults()[field]
            if change:
                label += f"{'-' if has else '+'}{part}"
                choices[field] = defaults()[field] if has else added[field]
        found[label] = Genome(**choices)
    return found
