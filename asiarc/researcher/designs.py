"""Named genomes: the linear baselines, and the five headline architectures of the paper in repaired form.

A baseline's genome renders to the code of its file in `asiarc.models.baselines` (equal content addresses), so
a search that starts from a baseline knows what it is made of, and proposing one again is recognised.

The five are those of arXiv 2507.18074; two have released programs, three had to be rebuilt from the text and
their nearest released relatives. Repaired: every mechanism reaches the output (no slots that only a softmax
denominator sees, no scale that the norm cancels, no decay that is applied once a chunk), all are causal and
carry their state exactly, and entropy terms are left out because a mixer cannot add to the loss.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from asiarc.core.candidate import content_address
from asiarc.core.errors import CandidateError, unknown_name
from asiarc.core.genome import Genome
from asiarc.models.baselines import baseline_source

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
"""The mixers of the panel that the grammar can write."""

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

DESIGNS: dict[str, Genome] = BASELINES | HEADLINES


def design(name: str) -> Genome:
    """The genome of a named design; `CandidateError` names the nearest one where none has that name."""
    if name not in DESIGNS:
        raise CandidateError(unknown_name("design", name, DESIGNS))
    return DESIGNS[name]


@cache
def baseline_genomes() -> dict[str, Genome]:
    """The baselines' genomes by the content address of their files."""
    return {content_address(baseline_source(name)): genome for name, genome in BASELINES.items()}
