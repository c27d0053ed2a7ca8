"""Jobs that the tests run in the sandbox; imported there through PYTHONPATH."""

import json
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


def reads(payload):
    return {"text": Path(payload["path"]).read_text()}


def modules(payload):
    return {"torch": "torch" in sys.modules}


# --- judged jobs: what a first process does, what a second one does, and their referees -------------------------------


def keeps(payload):
    """Keep a file, and leave whatever else a process can."""
    Path("kept").write_text(payload.get("keep", "what was kept"))
    Path("aside").write_text("left in the first")
    Path("../aside").write_text("left above") if payload.get("above") else None
    CALLS.append(1)
    return payload.get("value", {})


def keeps_nothing(payload):
    return {"metric": "bits_per_byte", "value": 0.5}


def keeps_a_link(payload):
    Path("kept").symlink_to(payload["to"])
    return {}


def tells(payload, line):
    """Tell the referee what there is, then answer its questions by what was asked, doubled."""
    found = {"files": sorted(p.name for p in Path().iterdir()), "calls": len(CALLS), "payload": sorted(payload)}
    found["kept"] = Path("kept").read_text()
    line.send(json.dumps(found).encode())
    while (asked := line.receive(100)) != b"end":
        line.send(asked * 2)
    return {"value": "mine"}


def says_at_once(payload, line):
    line.send(b"{}")
    return {"metric": "bits_per_byte", "value": 0.0}


def reads_the_kept(payload, line):
    line.send(Path("kept").read_bytes())
    return {}


def says_too_much(payload, line):
    line.send(b"x" * 10_000_000)
    line.receive(100)
    return {}


def floods_the_line(payload, line):
    while True:
        line.send(b"x" * 50)


def hangs_up(payload, line):
    line.close()
    return {"value": "mine"}


def says_half(payload, line):
    os.write(line.writes, b"\0" * 7)
    os._exit(0)


def falls_silent(payload, line):
    line.receive(100)
    return {}


def dies_after_the_end(payload, line):
    tells(payload, line)
    os.kill(os.getpid(), 9)


def referee(secret, line):
    found = json.loads(line.receive(10_000))
    answers = []
    for number in range(3):
        line.send(b"%d" % number)
        answers.append(line.receive(10).decode())
    line.send(b"end")
    return {"told": found, "answers": answers, "secret": secret}


def referee_hears(secret, line):
    return {"heard": line.receive(1000).decode("utf-8", "replace")}


def referee_dies(secret, line):
    line.receive(10_000)
    os._exit(0)


def referee_babbles(secret, line):
    line.receive(10_000)
    return {"value": os}


def referee_fails(secret, line):
    line.receive(10_000)
    raise ZeroDivisionError("a fault of ours")


def ends_by_signal(payload):
    os.kill(os.getpid(), payload["signal"])


def prints_and_ends(payload):
    os.write(1, payload["text"].encode("utf-8", "surrogatepass"))
    os._exit(payload["code"])


def raises_text(payload):
    raise ValueError(payload["text"])


def reads_text(payload):
    """What the text of a task is here, as far as a candidate's process may read it."""
    from asiarc.tasks import get_task

    corpus = get_task(payload["task"]).corpus
    return {
        "hash": corpus.content_hash,
        "splits": sorted(corpus.texts),
        "start": bytes(corpus.texts["train"][:20]).hex(),
    }


def reads_tokens(payload):
    """The rows of a step, as a candidate's process is dealt them."""
    from asiarc.tasks import get_task

    return {"rows": get_task(payload["task"]).batch("train", 2, "seed", 1).targets_BT.tolist()}
# --- jobs that can be gone on with ------------------------------------------------------------------------------------


def counts(payload, checkpoints=None):
    """Write the numbers up to ten, one a step, and save each time; die, wait or reach out where it is asked to."""
    if "reach" in payload:
        return {"reached": [_reaches(path) for path in payload["reach"]]}
    counted, began = "", 0
    if checkpoints and checkpoints.file:
        began = checkpoints.step
        counted = "0123456789"[: len(checkpoints.file.read_bytes()) and began]
        checkpoints.starts(began)
    for step in range(began, 10):
        while step == payload.get("wait_at") and step != began:
            select.select([], [], [], 1.0)
        if step == payload.get("die_at"):
            os.kill(os.getpid(), 9)
        counted += str(step)
        if checkpoints and step + 1 != payload.get("die_at"):
            checkpoints.save(step + 1, len(counted), [counted.encode()])
    return {"began": began, "counted": counted}


def _reaches(path):
    """What can be done with a path: the first of what works."""
    for how, call in (
        ("writes", lambda: Path(path).write_text("x")),
        ("reads", lambda: Path(path).read_bytes()),
        ("lists", lambda: list(Path(path).iterdir())),
        ("removes", lambda: Path(path).unlink()),
    ):
        try:
            call()
        except OSError:
            continue
        return how
    return ""
