"""The scale ladder: what a mixer costs at every named recipe, and whether a model of that size trains at all.

FLOPs count a multiply-add as two, of a forward pass; a training step takes three times as many. Bytes are float32:
weights alone, and with gradients and AdamW's two moments.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import click

from asiarc.core.recipe import RECIPES, TrialRecipe

TOKENS_SHORT = 64  # length of the sequences of a smoke training
BYTES_TRAINED = 16  # a float32 parameter, its gradient and two moments


@dataclass(frozen=True)
class Size:
    """One mixer in the backbone at one recipe."""

    parameters: int
    flops_per_token: float
    state_bytes: int

    @property
    def weight_bytes(self) -> int:
        """Of the float32 weights."""
        return 4 * self.parameters

    @property
    def training_bytes(self) -> int:
        """Of weights, gradients and moments; activations come on top."""
        return BYTES_TRAINED * self.parameters


def size_of(source: str, recipe: TrialRecipe) -> Size:
    """A model's size without building it: from one mixer at the recipe's width (runs the source)."""
    from asiarc.engineer.gates.measure import measure
    from asiarc.models.sizes import total_parameters

    hidden = round(recipe.mlp_ratio * recipe.d_model)
    mixer = measure(source, recipe.d_model, recipe.num_heads)
    dense = 3 * recipe.d_model * hidden * recipe.num_layers + recipe.vocab_size * recipe.d_model
    return Size(
        total_parameters(recipe.num_layers * mixer.parameters, recipe, hidden),
        recipe.num_layers * mixer.flops_per_token + 2 * dense,
        recipe.num_layers * mixer.state_bytes,
    )


def smoke_train(source: str, recipe: TrialRecipe, steps: int) -> tuple[int, list[float]]:
    """Build the whole model and take a few steps on short rows; its parameters and the loss in bits of each step."""
    from asiarc.engineer.trainer import train
    from asiarc.models.backbone import build, count_parameters
    from asiarc.tasks import get_task

    short = recipe.at(steps=steps, batch_size=1, seq_len=TOKENS_SHORT, evaluations=steps)
    model = build(source, short, "ladder", hidden=round(short.mlp_ratio * short.d_model))
    curve = train(model, get_task("text"), short, "ladder")
    return count_parameters(model), [row[1] for row in curve.rows]


@click.command()
@click.option("--mixer", default="gated_delta_net", show_default=True, help="a baseline's name")
@click.option("--recipe", "names", type=click.Choice(list(RECIPES)), multiple=True, help="instead of all")
@click.option("--train", "steps", type=click.IntRange(min=0), default=0, help="steps of smoke training each")
def main(mixer: str, names: tuple[str, ...], steps: int) -> None:
    """Sizes of one mixer at the named recipes, from a model of minutes on a CPU to the paper's."""
    from asiarc.models.baselines import baseline_source

    source = baseline_source(mixer)
    for name in names or RECIPES:
        recipe = RECIPES[name]
        size = size_of(source, recipe)
        flops = 3 * size.flops_per_token * recipe.tokens
        click.echo(
            f"{name:<11} {size.parameters / 1e6:8.2f} M parameters  {size.flops_per_token / 1e6:9.2f} MFLOPs a token  "
            f"state {size.state_bytes / 1024:8.0f} KiB  weights {size.weight_bytes / 2**20:8.1f} MiB  "
            f"trained {size.training_bytes / 2**20:8.1f} MiB  {recipe.tokens / 1e6:8.1f} M tokens, {flops:.1e} FLOPs"
        )
        if steps:
            started = time.monotonic()
            built, losses = smoke_train(source, recipe, steps)
            assert built == size.parameters, f"counted {size.parameters}, built {built}"
            shown = ", ".join(f"{loss:.2f}" for loss in losses)
            click.echo(f"{'':<11} built and trained {steps} steps in {time.monotonic() - started:.0f} s: {shown} bits")
