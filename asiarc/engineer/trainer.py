"""The training loop: plain, and the same for every candidate.

Common random numbers: the tokens of step n depend on (task, seed, n) only, never on the candidate, so two candidates
trained with one seed saw the same text in the same order and their difference is paired.

A batch goes through the model in as many passes as the memory asks for (`asiarc.models.memory`); the step is that of
the whole batch, because every pass counts by its scored tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional as F

from asiarc.core.device import PRECISION
from asiarc.core.errors import ExecutionError
from asiarc.core.outcome import DivergedError
from asiarc.core.recipe import TRIAL_MEMORY_BYTES
from asiarc.engineer.checkpoint import TrainingProgress
from asiarc.models.loss import IGNORED, summed_cross_entropy
from asiarc.models.memory import HEADROOM, Passes, passes_of

if TYPE_CHECKING:
    from asiarc.core.device import Device
    from asiarc.core.recipe import TrialRecipe
    from asiarc.models.backbone import AsiarcForCausalLM
    from asiarc.tasks import Batch, Task

LOG_2 = math.log(2.0)


@dataclass(frozen=True)
class Curve:
    """The loss along training: rows of (step, loss of its batch, loss of a fixed probe), in bits a scored token.

    The probe is drawn from the training split: what is held out never enters the process that trains. `passes` is how
    the batches went through the model.
    """

    rows: tuple[tuple[int, float, float], ...]
    passes: Passes


def learning_rate_at(step: int, recipe: TrialRecipe) -> float:
    """Linear warm-up, then cosine from the peak to `final_lr` x the peak; steps count from 0."""
    warmup = max(1, round(recipe.warmup * recipe.steps))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return recipe.learning_rate * (recipe.final_lr + (1 - recipe.final_lr) * cosine)


def train(
    model: AsiarcForCausalLM,
    task: Task,
    recipe: TrialRecipe,
    seed: str,
    progress: TrainingProgress | None = None,
    *,
    memory_bytes: int | None = None,
    unsynced: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Curve:
    """Train in place for `recipe.steps` steps, from where `progress` stands, and return the curve.

    AdamW (beta 0.9, 0.95; weight decay on matrices only), gradient norm clipped, in the recipe's precision, or the
    `PRECISION` of the model's device. Passes are made to fit `memory_bytes` (None: what the device has, or a trial may
    take); all of a step but the last run in `unsynced`, which holds back the exchange of gradients between processes.
    Raises `DivergedError` when a loss is not a number or, after warm-up, three times its first value.
    """
    device = next(model.parameters()).device
    step_dtype = getattr(torch, recipe.precision or PRECISION[cast("Device", device.type)])
    optimiser = optimiser_of(model, recipe)
    probe = task.batch("train", 2 * recipe.batch_size, "curve", seq_len=recipe.seq_len)
    passes = prepare(model, recipe, len(probe.inputs_BT) // 2, memory_bytes or memory_of(device))
    marks = {round(recipe.steps * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
    progress = progress or TrainingProgress()
    standing = progress.resumed(model, optimiser)
    model.train()
    for step in range(standing.step, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(step, recipe)
        batch = task.batch("train", recipe.batch_size, seed, step, seq_len=recipe.seq_len)
        optimiser.zero_grad(set_to_none=True)
        value = add_gradients(model, batch, passes, step_dtype, unsynced)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        standing.first_loss = first_loss = value if step == 0 else standing.first_loss
        if not math.isfinite(value) or (step > recipe.warmup * recipe.steps and value > 3 * first_loss):
            raise DivergedError(f"diverged at step {step}: training loss {value:.4g}, {first_loss:.4g} at the start")
        if step + 1 in marks:
            bits = evaluate(model, probe, replace(passes, micro_batch=2 * passes.micro_batch))
            if not math.isfinite(bits):
                raise DivergedError(f"diverged at step {step}: probe's loss {bits}")
            standing.rows.append((step + 1, value / LOG_2, bits))
        standing.step = step + 1
        progress.mark(model, optimiser, standing)
    return Curve(tuple(standing.rows), passes)


def optimiser_of(model: AsiarcForCausalLM, recipe: TrialRecipe) -> torch.optim.Optimizer:
    """AdamW as the recipe has it: decay on matrices, none on vectors."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )


def memory_of(device: torch.device) -> int:
    """Bytes that a trial's estimate may take on a device: of a GPU's, or of what the sandbox gives."""
    whole = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else TRIAL_MEMORY_BYTES
    return round(HEADROOM * whole)


def prepare(model: AsiarcForCausalLM, recipe: TrialRecipe, rows: int, memory_bytes: int) -> Passes:
    """The passes in which batches of `rows` fit the memory; the model is set to take them."""
    passes = passes_of(recipe, sum(p.numel() for p in model.parameters()), memory_bytes, rows)
    bare = cast("AsiarcForCausalLM", getattr(model, "module", model))  # within DDP
    bare.is_checkpointed = passes.is_checkpointed
    if recipe.compile:
        compile_blocks(bare)
    return passes


def compile_blocks(model: AsiarcForCausalLM) -> None:
    """Have torch.compile make a program of each block at its first call.

    Raises `ExecutionError` where this machine cannot compile, so that no mixer is blamed for it.
    """
    from torch._dynamo.exc import TorchDynamoException  # a second's import

    try:
        torch.compile(torch.neg)(next(model.parameters()).new_zeros(2))
    except TorchDynamoException as error:
        why = " ".join(str(error).partition("\n\n")[0].split())
        raise ExecutionError(
            f"the recipe says compile=True, and torch.compile makes no program here ({why}): "
            "install a C++ compiler (on a GPU: triton as well), or leave compile out"
        ) from error
    for layer in model.layers:
        layer.compile()


def add_gradients(
    model: AsiarcForCausalLM,
    batch: Batch,
    passes: Passes,
    dtype: torch.dtype,
    unsynced: Callable[[], AbstractContextManager[None]],
) -> float:
    """The mean loss of a batch in nats, whose gradients are added to the model's."""
    value, scored = 0.0, scored_in(batch)
    *earlier, last = split(batch, passes.micro_batch)
    for part in (*earlier, last):
        with nullcontext() if part is last else unsynced():
            with torch.autocast(next(model.parameters()).device.type, dtype, enabled=dtype != torch.float32):
                loss = batch_loss(model, part, scored, is_chunked=passes.is_chunked)
            loss.backward()
        value += float(loss.detach())
    return value


def batch_loss(
    model: AsiarcForCausalLM, batch: Batch, scored: int | None = None, *, is_chunked: bool = False
) -> torch.Tensor:
    """Cross-entropy in nats over the scored tokens of a batch: their sum by `scored`; None: by how many, the mean."""
    device = next(model.parameters()).device
    inputs_BT = torch.from_numpy(batch.inputs_BT).to(device)
    targets_N = torch.from_numpy(batch.targets_BT).to(device).flatten()
    if is_chunked:
        loss = model(inputs_BT, head=partial(_of_hidden, targets_N=targets_N)).loss
    else:
        logits_NV = model(inputs_BT).logits.flatten(0, 1).float()
        loss = F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum")
    return cast("torch.Tensor", loss / (scored_in(batch) if scored is None else scored))


def _of_hidden(hidden_BTD: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    return summed_cross_entropy(hidden_BTD.flatten(0, 1), weight_VD, targets_N)


def scored_in(batch: Batch) -> int:
    """How many tokens of a batch are scored."""
    return int((batch.targets_BT != IGNORED).sum())


def split(batch: Batch, rows: int) -> Iterator[Batch]:
    """A batch's rows, so many at a time; the last part may have fewer."""
    for start in range(0, len(batch.inputs_BT), rows):
        some = slice(start, start + rows)
        yield type(batch)(batch.inputs_BT[some], batch.targets_BT[some])


def evaluate(model: AsiarcForCausalLM, batch: Batch, passes: Passes | None = None) -> float:
    """The loss of a batch, in bits a scored token; in one pass where none are given."""
    passes = passes or Passes(len(batch.inputs_BT))
    scored = scored_in(batch)
    model.eval()
    with torch.no_grad():
        parts = (
            batch_loss(model, part, scored, is_chunked=passes.is_chunked) for part in split(batch, passes.micro_batch)
        )
        bits = sum(map(float, parts)) / LOG_2
    model.train()
    return bits
