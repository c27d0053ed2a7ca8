"""Two processes train one model, are killed, and go on: what came of it, as JSON in the second argument's file."""

import json
import os
import sys
from pathlib import Path

import torch
import torch._dynamo  # here once, and not in each of twelve processes
import torch.distributed as dist
import torch.distributed.fsdp
from killed_jobs import digest_of

from asiarc.core.recipe import MICRO
from asiarc.engineer import distributed
from asiarc.engineer.checkpoint import TrainingProgress, tensors_of
from asiarc.execution import shelf
from asiarc.models import backbone  # noqa: F401
from asiarc.tasks import get_task

torch.set_num_threads(1)
source, folder = Path(sys.argv[1]).read_text(), Path(sys.argv[2])
task = get_task("overwrite")
recipe = MICRO.at(
    d_model=16, num_layers=1, mlp_ratio=1.0, seq_len=task.seq_len, batch_size=4, steps=6, evaluations=2, micro_batch=1
)
shelf.EVERY_S = 0.0


def train(name, by, rank, checkpoints, die_at):
    """One process's part: the digits of all that it holds after the last step, and the curve."""
    found, mark = {}, TrainingProgress.mark

    def marks(self, model, optimiser, standing):
        mark(self, model, optimiser, standing)
        if standing.step == die_at and rank:  # the first process has the step as well, the second not all of its own
            newest = max(Path(checkpoints).glob(f"*-{rank}/{die_at}-*"))
            newest.write_bytes(newest.read_bytes()[:-1])
        if standing.step == die_at:
            os.kill(os.getpid(), 9)
        found["digest"] = digest_of(tensors_of(model, self.parameters, optimiser.state))

    TrainingProgress.mark = marks
    dist.init_process_group("gloo", init_method=f"file://{folder}/{name}", rank=rank, world_size=2)
    curve = distributed.train_spread(source, task, recipe, "0", by, torch.device("cpu"), checkpoints)
    (folder / f"{name}-{rank}.json").write_text(json.dumps([found["digest"], curve.rows]))
    dist.destroy_process_group()


def both(name, by, checkpoints=None, die_at=None):
    """What both processes say; None of one that was killed."""
    pids = []
    for rank in range(2):
        pids.append(os.fork())
        if not pids[-1]:
            train(name, by, rank, checkpoints, die_at)
            os._exit(0)
    ended = [os.waitpid(pid, 0)[1] for pid in pids]
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) if not ended[rank] else None for rank in range(2)]


shown = {}
for by in distributed.WAYS:
    kept = folder / f"{by} checkpoints"
    shown[by] = {
        "whole": both(f"{by}-whole", by),
        "killed": both(f"{by}-killed", by, kept, 4),
        "kept": sorted(path.name.partition("-")[0] for path in kept.glob("*/*")),
        "resumed": both(f"{by}-resumed", by, kept),
        "left": [path.name for path in kept.iterdir()],
    }
(folder / "shown.json").write_text(json.dumps(shown))
