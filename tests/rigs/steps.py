"""Steps of the paper's sizes where the memory holds no whole batch, and the loss in chunks beside the plain one.

    python -m tests.rigs steps train --recipe paper-20m
    python -m tests.rigs steps train --recipe paper-340m --rows 8
    python -m tests.rigs steps loss

Peak memory is the largest resident set of a fresh process, its imports included.
"""

from __future__ import annotations

import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import click
import numpy as np

from asiarc.core.recipe import PRECISIONS, RECIPES, Precision
from asiarc.core.seeds import rng_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asiarc.tasks import Task

Way = Literal["plain", "chunked"]
GIB = 2**30
SEED = "steps"


class RandomTokens:
    """Tokens drawn evenly from a vocabulary, all of them scored: what a step costs does not depend on what it reads."""

    name = "random tokens"

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def batch(self, split: str, count: int, *address: Any, seq_len: int) -> Any:
        """As a task's."""
        from asiarc.tasks.task import Batch

        draw = np.random.default_rng(rng_of(split, count, *address).getrandbits(64))
        tokens_BT = draw.integers(self.vocab_size, size=(count, seq_len + 1))
        return Batch(tokens_BT[:, :-1], tokens_BT[:, 1:])


def peak_gib() -> float:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


@click.group()
def main() -> None:
    """The paper's steps on the machine there is, and the loss whose logits are never whole."""


@main.command()
@click.option("--recipe", "name", type=click.Choice(list(RECIPES)), default="paper-20m", show_default=True)
@click.option("--rows", type=click.IntRange(min=1), help="of the batch, instead of the recipe's")
@click.option("--seq-len", type=click.IntRange(min=1), help="instead of the recipe's")
@click.option("--steps", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--mixer", default="gated_delta_net", show_default=True, help="a baseline's name")
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True)
@click.option("--micro-batch", type=click.IntRange(min=1), help="rows a pass, instead of as many as fit")
@click.option("--memory-gib", type=float, default=8.0, show_default=True, help="that the passes are made to fit")
@click.option("--threads", type=click.IntRange(min=1), help="of torch, instead of one a core")
def train(
    name: str,
    steps: int,
    mixer: str,
    precision: Precision,
    memory_gib: float,
    threads: int | None,
    rows: int | None,
    seq_len: int | None,
    micro_batch: int | None,
) -> None:
    """Take optimiser steps with a recipe's whole batch: passes, seconds, peak memory, loss."""
    import torch

    from asiarc.engineer.trainer import train
    from asiarc.models.backbone import build, count_parameters
    from asiarc.models.baselines import baseline_source

    torch.set_num_threads(threads or os.cpu_count() or 1)
    torch.set_flush_denormal(True)  # as in a trial
    recipe = RECIPES[name].at(steps=steps, evaluations=0, precision=precision, micro_batch=micro_batch)
    recipe = recipe.at(batch_size=rows or recipe.batch_size, seq_len=seq_len or recipe.seq_len)
    model = build(baseline_source(mixer), recipe, SEED, hidden=round(recipe.mlp_ratio * recipe.d_model))
    task = cast("Task", RandomTokens(recipe.vocab_size))
    wall, cpu = time.monotonic(), time.process_time()
    curve = train(model, task, recipe.at(evaluations=steps), SEED, memory_bytes=round(memory_gib * GIB))
    wall_s, cpu_s = time.monotonic() - wall, time.process_time() - cpu
    click.echo(
        f"{name}, {mixer}: {count_parameters(model) / 1e6:.1f} M parameters, {steps} steps of {recipe.batch_size} x "
        f"{recipe.seq_len:,} tokens in {precision}\n"
        f"{curve.passes.micro_batch} rows a pass, loss {'in chunks' if curve.passes.is_chunked else 'whole'}, "
        f"blocks {'computed again' if curve.passes.is_checkpointed else 'kept'}\n"
        f"wall {wall_s:.1f} s, CPU {cpu_s:.1f} s, peak {peak_gib():.2f} GiB of {memory_gib:g}\n"
        f"loss {', '.join(f'{row[1]:.4f}' for row in curve.rows)} bits a token"
    )


class Measured(NamedTuple):
    """One loss and its gradients in a fresh process; bytes and seconds are of those alone."""

    value: float
    hidden_grad_ND: NDArray[np.float32]  # noqa: N815
    weight_grad_VD: NDArray[np.float32]  # noqa: N815
    peak_gib: float
    cpu_s: float


def measured(way: Way, tokens: int, words: int, width: int, precision: Precision) -> Measured:
    """What one way gives and takes; run it in a process of its own."""
    import torch
    from torch.nn import functional as F

    from asiarc.models.loss import summed_cross_entropy

    draw = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(tokens, width, generator=draw).requires_grad_()
    weight_VD = (torch.randn(words, width, generator=draw) * width**-0.5).requires_grad_()
    targets_N = torch.randint(words, (tokens,), generator=draw)
    before, cpu = peak_gib(), time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        if way == "plain":
            loss = F.cross_entropy(F.linear(hidden_ND, weight_VD).float(), targets_N, reduction="sum")
        else:
            loss = summed_cross_entropy(hidden_ND, weight_VD, targets_N)
    loss.backward()
    cpu_s, peak = time.process_time() - cpu, peak_gib() - before
    assert hidden_ND.grad is not None and weight_VD.grad is not None
    return Measured(loss.item(), hidden_ND.grad.numpy(), weight_VD.grad.numpy(), peak, cpu_s)


@main.command()
@click.option("--tokens", type=click.IntRange(min=1), multiple=True, default=(512, 2048, 8192), show_default=True)
@click.option("--words", type=click.IntRange(min=2), default=50_257, show_default=True)
@click.option("--width", type=click.IntRange(min=1), default=256, show_default=True)
def loss(tokens: tuple[int, ...], words: int, width: int) -> None:
    """The chunked loss against the plain: values, gradients, memory on top of what is given, CPU-seconds."""
    click.echo("| tokens | precision | loss | value off by | gradients off by | memory, GiB | CPU-s |")
    click.echo("|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for count in tokens:
            of_this = count, words, width
            exact = fresh.submit(measured, "plain", *of_this, "float32").result()
            for precision in PRECISIONS:
                for way in ("plain", "chunked"):
                    click.echo(
                        _row(way, count, precision, fresh.submit(measured, way, *of_this, precision).result(), exact)
                    )


def _row(way: str, tokens: int, precision: str, found: Measured, exact: Measured) -> str:
    errors = [_off(found[part], exact[part]) for part in (0, 1, 2)]
    cells = [f"{tokens:,}", precision, way, f"{errors[0]:.0e}", f"{max(errors[1:]):.0e}"]
    return f"| {' | '.join([*cells, f'{found.peak_gib:.2f}', f'{found.cpu_s:.2f}'])} |"


def _off(found: Any, exact: Any) -> float:
    return float(np.linalg.norm(np.subtract(found, exact)) / np.linalg.norm(exact))
