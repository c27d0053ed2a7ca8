"""How much memory a training step takes, and in which passes a batch goes through a model so that it suffices.

By arithmetic alone, without torch. What a mixer keeps for its backward pass was measured, operator by operator in
float32 on a CPU (`python -m tests.rigs memory --fit`), and is written as numbers a token and layer,

    vectors * d + heads * H + states * d * d / H,

since an operator in chunks keeps vectors of d channels, and of each head a row of a matrix and a share of a state. A
GPU's kernels keep less, and bfloat16 half as much: there the estimate is meant as an upper bound, and not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asiarc.core.recipe import TrialRecipe

CHUNK_BYTES = 2**26  # of a chunk's logits in float32 (`asiarc.models.loss`)
LOGITS_BYTES = 2**30  # float32 logits of a whole batch that are still made at once
FLOAT_BYTES = 4
RESIDENT = 1.2  # what the kernel counts for every byte that tensors hold: 1.14 to 1.32 at four sizes
HEADROOM = 0.9  # of a device's memory, given to estimates


@dataclass(frozen=True)
class Activations:
    """Numbers that a mixer keeps a token: a vector's, a head's and a state's share, whole pairs of tokens where it has
    them, and in `backward` the d-vectors that its own backward pass makes beside."""

    vectors: float
    heads: float
    states: float
    backward: float
    has_pairs: bool = False

    def kept(self, recipe: TrialRecipe) -> float:
        """Numbers a token of a layer, without pairs."""
        d, heads = recipe.d_model, recipe.num_heads
        return self.vectors * d + self.heads * heads + self.states * d * d / heads


# Right within 1 % of what was measured at five sizes, but for KDA (2 %), retnet, softmax (4 %) and Mamba-2 (8 %).
ACTIVATIONS = {
    "linear_attention": Activations(13.4, -19, -0.001, 7),
    "retnet": Activations(13.1, 6, 0.017, 6),
    "gla": Activations(16.4, -15, 0.0, 21),
    "mamba2": Activations(16.5, 15, 0.033, 10),
    "delta_net": Activations(19.4, 28, 0.020, 12),
    "gated_delta_net": Activations(21.9, 53, 0.030, 12),
    "kda": Activations(24.6, 31, 0.027, 25),
    "softmax_attention": Activations(14.0, 7, 0.011, 2, has_pairs=True),
}
UNKNOWN = ACTIVATIONS["kda"]  # the most of any baseline, for a mixer that nobody has measured


@dataclass(frozen=True)
class Passes:
    """In how many passes a step takes its batch, and what it saves memory with; the step is the same to rounding.

    `micro_batch` rows a pass (the last may have fewer); `is_chunked`: the loss without whole logits; `is_checkpointed`:
    the activations inside a block are computed again in the backward pass.
    """

    micro_batch: int
    is_chunked: bool = False
    is_checkpointed: bool = False


def peak_bytes(recipe: TrialRecipe, parameters: int, passes: Passes, mixer: str = "") -> int:
    """About how many bytes a training step takes at most, as the kernel counts them, beyond an idle process.

    Those of its tensors, and what an allocator loses between them.
    """
    return round(RESIDENT * tensor_bytes(recipe, parameters, passes, mixer))


def tensor_bytes(recipe: TrialRecipe, parameters: int, passes: Passes, mixer: str = "") -> int:
    """About how many bytes the tensors of a training step take at most.

    Parameters and their two moments, and the larger of two moments of a step: the backward pass, and the probe.
    `mixer` is a baseline's name; another counts as the hungriest.
    """
    known = ACTIVATIONS.get(mixer, UNKNOWN)
    most = max(_backward(recipe, parameters, passes, known), _probe(recipe, parameters, passes, known))
    return round(FLOAT_BYTES * (3 * parameters + most))


def _backward(recipe: TrialRecipe, parameters: int, passes: Passes, mixer: Activations) -> float:
    """Numbers that the activations of a pass, the loss and gradients take at once.

    A layer keeps its mixer's, two d-vectors beside, and for the MLP three and four times its hidden units; checkpointed
    it keeps its input, and has all again when its turn comes. Gradients are there where a step has several passes, or
    where the last layer to be computed again has all of them.
    """
    d, hidden, layers = recipe.d_model, recipe.mlp_ratio * recipe.d_model, recipe.num_layers
    tokens = passes.micro_batch * recipe.seq_len
    mlp = 4 * hidden + 3 * d if hidden else 0
    layer = tokens * (mixer.kept(recipe) + 2 * d + mlp) + mixer.has_pairs * recipe.seq_len**2
    beside = tokens * max(0, mixer.backward * d - mlp)
    loss = _logits(recipe, passes, tokens, 3) + recipe.vocab_size * d * passes.is_chunked
    before = parameters * (passes.micro_batch < recipe.batch_size)
    if passes.is_checkpointed:
        kept = layers * tokens * d + max(loss + before, layer + beside + parameters)
    else:
        kept = layers * layer + max(loss, beside) + before
    return kept + 3 * tokens * d


def _probe(recipe: TrialRecipe, parameters: int, passes: Passes, mixer: Activations) -> float:
    """Numbers that the probe takes, which is read in passes of twice the rows while there are gradients."""
    tokens = 2 * passes.micro_batch * recipe.seq_len
    mixing = tokens * (mixer.kept(recipe) + 6 * recipe.d_model) + mixer.has_pairs * recipe.seq_len**2
    return parameters + max(_logits(recipe, passes, tokens, 2), mixing)


def _logits(recipe: TrialRecipe, passes: Passes, tokens: int, times: int) -> float:
    """Numbers of the logits of some tokens, so many times; or of the three chunks that are there at a time."""
    whole = tokens * recipe.vocab_size
    return min(2 * whole, 3 * CHUNK_BYTES / FLOAT_BYTES) if passes.is_chunked else times * whole


def passes_of(
    recipe: TrialRecipe, parameters: int, memory_bytes: int, rows: int | None = None, mixer: str = ""
) -> Passes:
    """The passes that a batch of `rows` (the recipe's `batch_size`) takes on a machine with so much memory.

    As many rows a pass as fit, or as the recipe says; blocks are checkpointed only where that brings in what else does
    not fit; one row a pass where nothing does. Whether the loss is chunked depends on the recipe alone.
    """
    rows = rows or recipe.batch_size
    most = min(rows, recipe.micro_batch or rows)
    least = most if recipe.micro_batch else 1
    fitting = fitting_passes(recipe, parameters, memory_bytes, range(most, least - 1, -1), mixer)
    return fitting or Passes(least, is_chunked(recipe), is_checkpointed=True)


def fitting_passes(
    recipe: TrialRecipe, parameters: int, memory_bytes: int, micro_batches: Sequence[int], mixer: str = ""
) -> Passes | None:
    """The first passes of these sizes, without checkpoints and then with, that fit; None where none does."""
    for is_checkpointed in (False, True):
        for micro_batch in micro_batches:
            passes = Passes(micro_batch, is_chunked(recipe), is_checkpointed)
            if peak_bytes(recipe, parameters, passes, mixer) <= memory_bytes:
                return passes
    return None


def is_chunked(recipe: TrialRecipe) -> bool:
    """Whether a recipe's loss is made without whole logits."""
    return FLOAT_BYTES * recipe.batch_size * recipe.seq_len * recipe.vocab_size > LOGITS_BYTES
