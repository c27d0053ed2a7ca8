"""How much memory a training step takes, and in which passes a batch goes through a model so that it suffices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asiarc.models.loss import CHUNK_BYTES

if TYPE_CHECKING:
    from asiarc.core.recipe import TrialRecipe

LOGITS_BYTES = 2**30  # float32 logits of a whole batch that are still made at once
TRAINED_BYTES = 16  # a float32 parameter, its gradient and two moments


@dataclass(frozen=True)
class Passes:
    """In how many passes a step takes its batch, and what it saves memory with; the step is the same to rounding.

    `micro_batch` rows a pass (the last may have fewer); `is_chunked`: the loss without whole logits; `is_checkpointed`:
    the activations inside a block are computed again in the backward pass.
    """

    micro_batch: int
    is_chunked: bool = False
    is_checkpointed: bool = False


def peak_bytes(recipe: TrialRecipe, parameters: int, passes: Passes) -> int:
    """About how many bytes a training step takes at most: what is trained, the loss, and the activations of a pass.

    A token keeps in each layer some 24 d-vectors of mixer and norms and 4 of the MLP; checkpointed, it keeps one
    d-vector a layer, and one layer's at a time.
    """
    tokens = passes.micro_batch * recipe.seq_len
    d, hidden, layers = recipe.d_model, recipe.mlp_ratio * recipe.d_model, recipe.num_layers
    a_layer = 24 * d + 4 * hidden
    kept = layers * d + a_layer if passes.is_checkpointed else layers * a_layer
    loss = 2 * CHUNK_BYTES + 8 * recipe.vocab_size * d if passes.is_chunked else 12 * tokens * recipe.vocab_size
    return round(TRAINED_BYTES * parameters + loss + 4 * tokens * kept)


def passes_of(recipe: TrialRecipe, parameters: int, memory_bytes: int, rows: int | None = None) -> Passes:
    """The passes that a batch of `rows` (the recipe's `batch_size`) takes on a machine with so much memory.

    As many rows a pass as fit, or as the recipe says; blocks are checkpointed only where that brings in what else does
    not fit; one row a pass where nothing does. Whether the loss is chunked depends on the recipe alone.
    """
    rows = rows or recipe.batch_size
    most = min(rows, recipe.micro_batch or rows)
    is_chunked = 4 * recipe.batch_size * recipe.seq_len * recipe.vocab_size > LOGITS_BYTES
    least = most if recipe.micro_batch else 1
    for is_checkpointed in (False, True):
        for micro_batch in range(most, least - 1, -1):
            passes = Passes(micro_batch, is_chunked, is_checkpointed)
            if peak_bytes(recipe, parameters, passes) <= memory_bytes:
                return passes
    return Passes(least, is_chunked, is_checkpointed=True)
