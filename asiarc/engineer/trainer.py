"""The training loop: plain, and the same for every candidate.

Common random numbers: the tokens of step n depend on (task, seed, n) only, never on the candidate, so two candidates
trained with one seed saw the same text in the same order and their difference is paired.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional as F

from asiarc.core.device import PRECISION
from asiarc.core.outcome import DivergedError
from asiarc.engineer.checkpoint import Progress

if TYPE_CHECKING:
    from asiarc.core.device import Device
    from asiarc.core.recipe import TrialRecipe
    from asiarc.models.backbone import AsiarcForCausalLM
    from asiarc.tasks import Batch, Task

LOG_2 = math.log(2.0)


@dataclass(frozen=True)
class Curve:
    """The loss along training: rows of (step, loss of its batch, loss of a fixed probe), in bits a scored token.

    The probe is drawn from the training split: what is held out never enters the process that trains.
    """

    rows: tuple[tuple[int, float, float], ...]


def learning_rate_at(step: int, recipe: TrialRecipe) -> float:
    """Linear warm-up, then cosine from the peak to `final_lr` x the peak; steps count from 0."""
    warmup = max(1, round(recipe.warmup * recipe.steps))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return recipe.learning_rate * (recipe.final_lr + (1 - recipe.final_lr) * cosine)


def train(
    model: AsiarcForCausalLM, task: Task, recipe: TrialRecipe, seed: str, progress: Progress | None = None
) -> Curve:
    """Train in place for `recipe.steps` steps, from where `progress` stands, and return the curve.

    AdamW (beta 0.9, 0.95; weight decay on matrices only), gradient norm clipped, in the recipe's precision, or the
    `PRECISION` of the model's device. Raises `DivergedError` when a loss is not a number or, after warm-up, three times
    its first value.
    """
    device = next(model.parameters()).device
    step_dtype = getattr(torch, recipe.precision or PRECISION[cast("Device", device.type)])
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    probe = task.batch("train", 2 * recipe.batch_size, "curve", seq_len=recipe.seq_len)
    marks = {round(recipe.steps * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
    progress = progress or Progress()
    standing = progress.resumed(model, optimiser)
    model.train()
    for step in range(standing.step, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(step, recipe)
        batch = task.batch("train", recipe.batch_size, seed, step, seq_len=recipe.seq_len)
        with torch.autocast(device.type, step_dtype, enabled=step_dtype != torch.float32):
            loss = batch_loss(model, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        value = float(loss.detach())
        standing.first_loss = first_loss = value if step == 0 else standing.first_loss
        if not math.isfinite(value) or (step > recipe.warmup * recipe.steps and value > 3 * first_loss):
            raise DivergedError(f"diverged at step {step}: training loss {value:.4g}, {first_loss:.4g} at the start")
        if step + 1 in marks:
            bits = evaluate(model, probe)
            if not math.isfinite(bits):
                raise DivergedError(f"diverged at step {step}: probe's loss {bits}")
            standing.rows.append((step + 1, value / LOG_2, bits))
        standing.step = step + 1
        progress.mark(model, optimiser, standing)
    return Curve(tuple(standing.rows))


def batch_loss(model: AsiarcForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy in nats over the scored tokens of a batch."""
    device = next(model.parameters()).device
    logits_BTV = model(torch.from_numpy(batch.inputs_BT).to(device)).logits
    targets_BT = torch.from_numpy(batch.targets_BT).to(device)
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), ignore_index=-100)


def evaluate(model: AsiarcForCausalLM, batch: Batch) -> float:
    """The loss of a batch, in bits a scored token."""
    model.eval()
    with torch.no_grad():
        bits = float(batch_loss(model, batch)) / LOG_2
    model.train()
    return bits
