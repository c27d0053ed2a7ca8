"""How many parameters a model has, and the width of its MLPs that gives it so many: arithmetic, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asiarc.core.recipe import SIZE_TOLERANCE

if TYPE_CHECKING:
    from asiarc.core.recipe import TrialRecipe


def total_parameters(mixing: int, recipe: TrialRecipe, hidden: int) -> int:
    """Parameters of the whole model, from those of all its mixers together and the width of its MLPs.

    V d (embeddings) + d + mixing + 3 d (hidden units of all blocks) + d for each norm: one before every mixer, and one
    a block whether or not an MLP follows it.
    """
    d, blocks = recipe.d_model, recipe.blocks
    norms = len(blocks) + sum(bool(block.mixer) for block in blocks)
    units = sum(block.hidden(hidden) for block in blocks)
    return recipe.vocab_size * d + d + mixing + norms * d + 3 * d * units


def nearest_hidden(mixing: int, recipe: TrialRecipe, target: int) -> int:
    """The MLP width, at least 1, that brings the whole model as near to `target` parameters as any."""
    slope = 3 * recipe.d_model * sum(block.share for block in recipe.blocks)
    return max(1, round((target - total_parameters(mixing, recipe, 0)) / slope)) if slope else 1


def fits(mixing: int, recipe: TrialRecipe, target: int, tolerance: float = SIZE_TOLERANCE) -> bool:
    """Whether some width of the MLPs brings a model to `target` parameters within the tolerance."""
    actual = total_parameters(mixing, recipe, nearest_hidden(mixing, recipe, target))
    return abs(actual - target) <= tolerance * target
