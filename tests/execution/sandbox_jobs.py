"""Jobs that the tests run in the sandbox; imported there through PYTHONPATH."""

import os
import random
import select
import sys
from pathlib import Path

CALLS = []


def echo(payload):
    return payload


def state_of_things(payload):
    """What this process finds, and then changes as thoroughly as it can."""
    found = {
        "calls": len(CALLS),
        "files": [path.name for path in Path().iterdir()],
        "random": random.random(),
        "environment": sorted(os.environ),
        "home": os.environ["HOME"],
        "cwd": str(Path.cwd()),
        "order": list({"a", "b", "c", "d"}),
    }
    CALLS.append(1)
    Path("left").write_text("behind")
    random.seed(0)
    os.environ["LEFT"] = "behind"
    return found


def wait_for(payload):
    """Return when a file exists; it is in a folder that the executor makes readable."""
    while not Path(payload["path"]).exists():
        select.select([], [], [], 0.01)
    return {"pid_inside": os.getpid()}


def device(payload):
    """The GPU that this job may see, once all are there."""
    wait_for(payload)
    return {"device": os.environ.get("CUDA_VISIBLE_DEVICES")}


def allocate(payload):
    block = bytearray(payload["bytes"])
    for at in range(0, len(block), 4096):
        block[at] = 1
    return {"sum": sum(i * i for i in range(200_000))}


def fails_like_a_user(payload):
    from asiarc.core.errors import TaskError

    raise TaskError("unknown task 'txt'. Did you mean 'text'?")


def runs_a_candidate(payload):
    """As a trial does: compiles a candidate's text and runs it."""
    import linecache

    name = "<candidate_0>"
    linecache.cache[name] = (len(payload["source"]), None, payload["source"].splitlines(keepends=True), name)
    exec(compile(payload["source"], name, "exec"), {})
    return {}


def trains(payload):
    import torch

    torch.manual_seed(payload["seed"])
    layer = torch.nn.Linear(8, 8)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        loss = layer(torch.randn(4, 8)).square().mean()
        loss.backward()
        optimizer.step()
    return {"loss": loss.item(), "threads": torch.get_num_threads()}


def opens(payload):
    return {"text": Path(payload["path"]).read_text()}


def modules(payload):
    return {"torch": "torch" in sys.modules}
