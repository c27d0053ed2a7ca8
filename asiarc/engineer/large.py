"""One large trial as a job: torchrun over as many processes as the job was given GPUs, on the machine that runs it.

Unusual: its processes need each other's sockets, which no sandbox of ours has, so this is for an executor's way past it
(`RayExecutor.run_large`), or for this process (`InlineExecutor`); give it baselines and candidates that were admitted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from asiarc.core.errors import ExecutionError

MODULE = "asiarc.engineer.distributed"
CHANGES = ("steps", "batch_size", "seq_len")
QUIET = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
TAIL = 2000


def launch(payload: dict[str, Any]) -> dict[str, Any]:
    """Train one mixer with `processes` processes, once for every way of spreading it that `by` names.

    Takes mixer (a baseline's name) or source, task, seed, recipe (a name), by, processes, and of `CHANGES` what is not
    the recipe's own; gives rows of by, processes, device, curve, and the GPUs that were given. Raises `ExecutionError`
    with the end of what torchrun said.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            _command(payload, Path(folder)), capture_output=True, text=True, check=False, env=os.environ | QUIET
        )
    if done.returncode:
        raise ExecutionError(f"torchrun ended with {done.returncode}: {done.stderr[-TAIL:]}")
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {"rows": rows, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}


def _command(payload: dict[str, Any], folder: Path) -> list[str]:
    mixer = payload.get("mixer")
    if mixer is None:
        (folder / "mixer.py").write_text(payload["source"])
        mixer = str(folder / "mixer.py")
    options = {name: payload[name] for name in ("recipe", "task", "seed")} | {"mixer": mixer}
    options |= {name.replace("_", "-"): payload[name] for name in CHANGES if name in payload}
    told = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    spread = [text for by in payload["by"] for text in ("--by", by)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(payload["processes"])]
    return [sys.executable, *torchrun, "-m", MODULE, *told, *spread]
