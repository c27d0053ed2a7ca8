"""The estimate of a step's memory (`asiarc.models.memory`) against what a step takes.

Tracked: every storage that operators make, and when it goes (`gates.live`). Resident: the largest resident memory of a
fresh process that trains, less what it had after a first training of no size. With ``--fit``, the numbers that each
baseline's mixer keeps for its backward pass, as `ACTIVATIONS` has them.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from pathlib import Path

import click
import numpy as np
import torch

from asiarc.core.candidate import load_mixer, make_mixer
from asiarc.core.recipe import MEDIUM, MICRO, PAPER_20M, SMALL, TrialRecipe
from asiarc.engineer.gates.live import Live, uncollected
from asiarc.engineer.trainer import train
from asiarc.models.backbone import build, count_parameters
from asiarc.models.baselines import BASELINE_NAMES, baseline_source
from asiarc.models.memory import ACTIVATIONS, Passes, peak_bytes, tensor_bytes
from asiarc.tasks.task import Batch

SHORT = dict(steps=2, evaluations=1)
SIZES = {
    "micro": MICRO.at(**SHORT),
    "small": SMALL.at(**SHORT),
    "medium": MEDIUM.at(micro_batch=2, batch_size=4, **SHORT),
    "paper, scaled down": PAPER_20M.at(
        d_model=128, num_layers=2, num_heads=4, seq_len=256, batch_size=32, micro_batch=4, **SHORT
    ),
}
WIDTHS = ((64, 2), (64, 4), (128, 2), (128, 4), (256, 4), (256, 8))
TOKENS = 256


class Noise:
    """Tokens without a text."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def batch(self, split: str, count: int, *address: str | int, seq_len: int) -> Batch:
        ids_BT = np.random.default_rng(count).integers(0, self.vocab_size, (count, seq_len))
        return Batch(ids_BT, ids_BT)


def trained(recipe: TrialRecipe, mixer: str) -> tuple[int, Passes]:
    """Train a baseline: its model's parameters, and the passes that it took."""
    torch.set_num_threads(1)
    model = build(baseline_source(mixer), recipe, "0", hidden=round(recipe.mlp_ratio * recipe.d_model))
    passes = train(model, Noise(recipe.vocab_size), recipe, "0").passes
    return count_parameters(model), passes


def tracked(recipe: TrialRecipe, mixer: str) -> tuple[int, int, Passes]:
    """(bytes that training takes at most at once, parameters, passes), the model's own bytes included."""
    with uncollected(), Live() as live:
        parameters, passes = trained(recipe, mixer)
    return live.memory.peak, parameters, passes


def resident(recipe: TrialRecipe, mixer: str) -> int:
    """The same of a fresh process, as the kernel counts it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (recipe, mixer))


def _growth(recipe: TrialRecipe, mixer: str) -> int:
    trained(MICRO.at(d_model=16, num_heads=1, batch_size=1, seq_len=64, **SHORT), mixer)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: imports had one of their own
    before = _status("VmRSS")
    trained(recipe, mixer)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Bytes that the kernel tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def kept(mixer: str, d_model: int, heads: int) -> tuple[float, float]:
    """Numbers a token that a baseline's mixer keeps for its backward pass, and that this makes beside."""
    module = make_mixer(load_mixer(baseline_source(mixer)), d_model, heads)
    x_BTD = torch.randn(2, TOKENS, d_model, requires_grad=True)
    with uncollected(), Live() as live:
        y_BTD, _ = module(x_BTD)
        forward = live.memory.now
        y_BTD.sum().backward()
    parameters = sum(p.numel() for p in module.parameters())
    count = x_BTD.numel() // d_model
    pairs = TOKENS**2 if ACTIVATIONS[mixer].has_pairs else 0
    return (forward / 4 - pairs) / count, (live.memory.peak / 4 - forward / 4 - parameters) / count


def fitted(mixer: str) -> list[float]:
    """vectors, heads, states and backward of a baseline, by relative least squares over `WIDTHS`."""
    found = {(d, h): kept(mixer, d, h) for d, h in WIDTHS}
    shares = np.array([[d, h, d * d / h] for d, h in WIDTHS]) / np.array([[found[w][0]] for w in WIDTHS])
    solved = np.linalg.lstsq(shares, np.ones(len(WIDTHS)), rcond=None)[0]
    return [*solved, max(found[d, h][1] / d for d, h in WIDTHS)]


@click.command()
@click.option("--mixer", "mixers", multiple=True, type=click.Choice(BASELINE_NAMES), default=("delta_net", "kda"))
@click.option("--fit", is_flag=True, help="what each baseline's mixer keeps, in place of the table")
def main(mixers: tuple[str, ...], fit: bool) -> None:
    """Estimate, tracked and resident memory at four sizes."""
    if fit:
        for name in BASELINE_NAMES:
            click.echo(f"{name:<20}" + "".join(f"{number:10.3f}" for number in fitted(name)))
        return
    click.echo("MiB, estimated / measured")
    click.echo(f"{'recipe':<20}{'mixer':<20}{'tensors':>22}{'resident':>22}  passes")
    for size, recipe in SIZES.items():
        for mixer in mixers:
            took, parameters, passes = tracked(recipe, mixer)
            of_this = recipe, parameters, passes, mixer
            pairs = (tensor_bytes(*of_this), took), (peak_bytes(*of_this), resident(recipe, mixer))
            shown = (f"{estimate >> 20} / {found >> 20} ({estimate / found - 1:+.0%})" for estimate, found in pairs)
            click.echo(f"{size:<20}{mixer:<20}" + "".join(f"{s:>22}" for s in shown) + f"  {passes}")
