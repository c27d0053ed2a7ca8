"""One large trial on several processes: the trainer's own loop over a model that DDP or FSDP2 spreads.

    torchrun --standalone --nproc-per-node 2 -m asiarc.engineer.distributed --recipe small --steps 20 --by ddp

Every process trains on its share of the rows of each batch and gradients are averaged, so a step is the one that a
single process takes with the whole batch, up to the order in which float32 numbers are added; where a step takes
several passes, they are exchanged in the last one only. Neither the trainer nor the model knows of it. On GPUs each
process takes one (nccl), elsewhere they compute on the CPU (gloo).

Unusual: the source runs in these very processes, which need each other's sockets, and so in no sandbox: give it
baselines and candidates that were admitted, on a machine that may be lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click
import torch
import torch.distributed as dist
from torch import nn

from asiarc.core.candidate import read_source
from asiarc.core.digest import digest
from asiarc.core.errors import ExecutionError, TaskError
from asiarc.core.pattern import mixers_of
from asiarc.core.recipe import RECIPES, TrialRecipe
from asiarc.engineer.checkpoint import TrainingProgress
from asiarc.engineer.trainer import Curve, train
from asiarc.execution import shelf
from asiarc.execution.removal import remove_tree
from asiarc.execution.shelf import Checkpoints, Keeper

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

    from asiarc.models.backbone import AsiarcForCausalLM
    from asiarc.tasks import Task

By = Literal["ddp", "fsdp2"]
_NO_BOUND = 1 << 62
WAYS: tuple[By, ...] = ("ddp", "fsdp2")


class Share:
    """A task as one process sees it: of every batch the rows `rank`, `rank + processes`, ...

    The mean over processes of the means over their rows is the mean over all rows where every process has as many
    scored tokens. Raises `TaskError` where that is not so: the task cannot be dealt evenly.
    """

    def __init__(self, task: Task, rank: int, processes: int) -> None:
        self.task, self.rank, self.processes = task, rank, processes

    def batch(self, split: Any, count: int, *address: Any, seq_len: int | None = None) -> Any:
        """This process's rows of the task's batch."""
        whole = self.task.batch(split, count, *address, seq_len=seq_len)
        shares = [whole.targets_BT[start :: self.processes] for start in range(self.processes)]
        if len({int((share != -100).sum()) for share in shares}) > 1:
            raise TaskError(
                f"{count} rows of {self.task.name} cannot be dealt to {self.processes} processes with equally many "
                "scored tokens; choose a batch size that they divide, or a task whose every token is scored (text)"
            )
        rows = slice(self.rank, None, self.processes)
        return type(whole)(whole.inputs_BT[rows], whole.targets_BT[rows])


def spread(model: AsiarcForCausalLM, by: By) -> nn.Module:
    """The model over all processes of the group: replicated (`ddp`), or each block and the rest sharded (`fsdp2`)."""
    if by == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard

    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    return model


@contextmanager
def unsynced(model: nn.Module) -> Iterator[None]:
    """Gradients of what runs in here stay in each process; what runs next exchanges them, once for both."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        with model.no_sync():
            yield
    else:
        sharded = cast("FSDPModule", model)
        sharded.set_requires_gradient_sync(False)
        yield
        sharded.set_requires_gradient_sync(True)


class Agreed(Checkpoints):
    """The checkpoints of one process among several, which all save after the same step: when the first one's time has
    come."""

    def __init__(self, keeper: Keeper, device: torch.device) -> None:
        vars(self).update(vars(keeper.here()))
        self._device = device

    @property
    def is_due(self) -> bool:
        """What the first process finds."""
        due = torch.tensor(float(super().is_due), device=self._device)
        dist.broadcast(due, 0)
        return bool(due)


@contextmanager
def kept(folder: Path | None, training: list[Any], device: torch.device) -> Iterator[TrainingProgress]:
    """The progress of one training, told apart by `training`, on as many processes as now; each has its own part in
    `folder`, which is removed when the training is done. Raises `ExecutionError` where the folder cannot be used."""
    if folder is None:
        yield TrainingProgress()
        return
    rank, processes = dist.get_rank(), dist.get_world_size()
    own = shelf.Shelf(str(folder.absolute() / f"{digest([*training, processes])}-{rank}"), _NO_BOUND, shelf.EVERY_S)
    try:
        keeper = Keeper(own, own.opened())
    except OSError as error:
        raise ExecutionError(
            f"no checkpoint can be kept in {folder} ({error.strerror}); name another folder"
        ) from error
    theirs: list[Any] = [None] * processes
    dist.all_gather_object(theirs, keeper.steps)
    keeper.step_back(max(set.intersection(*theirs), default=0))
    try:
        yield TrainingProgress(Agreed(keeper, device))
        remove_tree(Path(own.folder))
    finally:
        keeper.close()
        for note in keeper.notes if rank == 0 else ():
            click.echo(note, err=True)


def train_spread(
    source: str,
    task: Task,
    recipe: TrialRecipe,
    seed: str,
    by: By,
    device: torch.device,
    checkpoints: Path | None = None,
) -> Curve:
    """Train one source with all processes of the group; the curve of a single process, on every process. A source that
    is a pattern is one of shipped mixers.

    With a folder for `checkpoints`, a training that was killed goes on in the same bits when it is started again on as
    many processes. Raises `DivergedError` on the process whose share diverged, which ends the group.
    """
    from asiarc.models.backbone import build
    from asiarc.models.baselines import baseline_source

    recipe = recipe.filled_by(source)
    mixers = {name: baseline_source(name) for name in mixers_of(recipe.layers)}
    rank, processes = dist.get_rank(), dist.get_world_size()
    hidden = round(recipe.mlp_ratio * recipe.d_model)
    model = spread(build(source, recipe, seed, hidden=hidden, mixers=mixers).to(device), by)
    share = cast("Task", Share(task, rank, processes))
    training = [source, task.identity, recipe.as_dict(), seed, by]
    with kept(checkpoints, training, device) as progress:
        whole = cast("AsiarcForCausalLM", model)
        mine = train(whole, share, recipe, seed, progress, unsynced=partial(unsynced, model))
    losses = torch.tensor([row[1:] for row in mine.rows], dtype=torch.float64, device=device)
    dist.all_reduce(losses)
    means = (losses / processes).tolist()
    rows = tuple((row[0], *mean) for row, mean in zip(mine.rows, means, strict=True))
    return replace(mine, rows=rows)


@contextmanager
def group() -> Iterator[torch.device]:
    """The processes that torchrun started, as one group; this one's device."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


@click.command()
@click.option("--recipe", type=click.Choice(list(RECIPES)), default="small", show_default=True)
@click.option("--mixer", default="gated_delta_net", show_default=True, help="a baseline's name, or a candidate's file")
@click.option("--task", "task_name", default="text", show_default=True)
@click.option("--seed", default="0/verify/0", show_default=True)
@click.option("--by", type=click.Choice(WAYS), multiple=True, default=("ddp",), show_default=True)
@click.option("--steps", type=int, help="instead of the recipe's own")
@click.option("--batch-size", type=int, help="rows a step over all processes, instead of the recipe's own")
@click.option("--seq-len", type=int, help="instead of the recipe's own")
@click.option("--checkpoints", type=click.Path(path_type=Path), help="a folder in which to go on after a kill")
def main(
    recipe: str,
    mixer: str,
    task_name: str,
    seed: str,
    by: tuple[By, ...],
    checkpoints: Path | None,
    **changes: int | None,
) -> None:
    """Train one mixer with all processes that torchrun started; the first prints a JSON line for each way."""
    from asiarc.models.baselines import PANEL_NAMES, baseline_source
    from asiarc.tasks import get_task

    source = baseline_source(mixer) if mixer in PANEL_NAMES else read_source(Path(mixer))
    chosen = RECIPES[recipe].at(**{name: value for name, value in changes.items() if value is not None})
    task = get_task(task_name, chosen.tokenizer)
    task.keep()
    with group() as device:
        for way in by:
            curve = train_spread(source, task, chosen, seed, way, device, checkpoints)
            if dist.get_rank() == 0:
                shown = {"by": way, "processes": dist.get_world_size(), "device": device.type, "curve": curve.rows}
                click.echo(json.dumps(shown))


if __name__ == "__main__":
    main()
