"""The speed gate: a candidate's training step, timed in turn with that of the mixer it is held against.

It runs only where a campaign caps the time (``at_most={"time": 1.5}``), after all other gates, in the sandbox, and its
answer is kept: times belong to a machine, and so do the results of a campaign that caps them.
"""

from __future__ import annotations

import time
from typing import Any

PAIRS = 16
BATCH = 4


def pace(payload: dict[str, Any]) -> dict[str, Any]:
    """Time of a step (forward and backward) of `source` over that of `against`: a `Ratio` as plain data.

    Takes source, against, d_model, num_heads and tokens. The clock is this process's CPU time, read by a name that was
    bound before the candidate was loaded; a slice is the least of a few steps, after two that warm up.
    """
    import torch

    from asiarc.engineer.gates.subject import Subject, run
    from asiarc.speed.paired import Slice, best_of, paired_ratio

    torch.set_num_threads(1)
    clock = time.process_time

    def slices(source: str) -> Slice:
        subject = Subject(source, payload["d_model"], payload["num_heads"], seed=0)
        mixer, x_BTD = subject.make(), subject.inputs(BATCH, payload["tokens"], "pace").requires_grad_()

        def step() -> float:
            start = clock()
            run(mixer, x_BTD)[0].sum().backward()
            return clock() - start

        step(), step()
        return lambda: best_of(step)

    against = slices(payload["against"])
    return paired_ratio(against, slices(payload["source"]), looks=(PAIRS,)).as_dict()
