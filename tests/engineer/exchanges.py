"""Run by torchrun: the command of `asiarc.engineer.distributed`, then in the same processes a model by each way.

A step is taken in one pass and in two. One start for all, because starting costs more than either.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext

import click
import numpy as np
import torch
import torch.distributed as dist

from asiarc.core.recipe import MICRO
from asiarc.engineer import distributed
from asiarc.models.baselines import baseline_source
from asiarc.tasks.task import Batch

GRADIENTS = ("allreduce", "all_reduce", "reduce_scatter")
RECIPE = MICRO.at(d_model=16, num_layers=2, seq_len=8, batch_size=4, steps=2, evaluations=0)


class Letters:
    """Random letters, all of them scored."""

    name = identity = "letters"

    def batch(self, split, count, *address, seq_len=None):
        letters_BT = np.random.default_rng([count, *str(address).encode()]).integers(97, 123, size=(count, seq_len + 1))
        return Batch(letters_BT[:, :-1], letters_BT[:, 1:])


def exchanges_of(run):
    """How many exchanges of gradients a run starts, as torch's profiler names them, and what it returns."""
    with torch.profiler.profile() as profile:
        made = run()
    names = [event.name.lower() for event in profile.events()]
    return sum(name.startswith("gloo:") and any(one in name for one in GRADIENTS) for name in names), made


def shown(by, kind, curve, exchanges, model):
    """A line of what was seen; every process must help to gather the weights."""
    whole = [p.full_tensor() if by == "fsdp2" else p for p in model.parameters()]
    weights = torch.cat([p.detach().flatten()[:5] for p in whole]).tolist()
    passes = 2 // curve.passes.micro_batch
    return json.dumps({"by": by, "kind": kind, "passes": passes, "exchanges": exchanges, "weights": weights})


def main() -> None:
    """Lines of JSON, printed by the first process."""
    models, spread, held, group = [], distributed.spread, distributed.unsynced, distributed.group
    with group() as device:
        distributed.group = lambda: nullcontext(device)
        distributed.main(sys.argv[1:], standalone_mode=False)
        distributed.spread = lambda model, by: models.append(spread(model, by)) or models[-1]
        for by in distributed.WAYS:
            for kind, rows, hold in (("whole", 2, held), ("parted", 1, held), ("planted", 1, lambda _: nullcontext())):
                distributed.unsynced = hold
                given = baseline_source("delta_net"), Letters(), RECIPE.at(micro_batch=rows), "0", by, device
                exchanges, curve = exchanges_of(lambda given=given: distributed.train_spread(*given))
                line = shown(by, kind, curve, exchanges, models[-1])
                if dist.get_rank() == 0:
                    click.echo(line)


if __name__ == "__main__":
    main()
