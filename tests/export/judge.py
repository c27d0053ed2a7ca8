"""Somebody who scores an exported folder with lm-eval's own command, as the model card says, where asiarc is not.

``python judge.py FOLDER TASK OUTPUT``; prints the tasks' rows of results as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

BLOCKED = ("asiarc", "einops", "triton", "fla")


class Blocked:
    """Whoever imports one of these is told that it is not there."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocked())
    from lm_eval.__main__ import cli_evaluate

    folder, task, output = sys.argv[1:]
    os.chdir(folder)
    sys.argv[1:] = [
        "--model", "hf", "--model_args", "pretrained=.,trust_remote_code=True", "--include_path", "task",
        "--tasks", task, "--device", "cpu", "--batch_size", "8", "--output_path", output,
    ]  # fmt: skip
    cli_evaluate()
    (written,) = Path(output).rglob("results*.json")
    assert not set(BLOCKED) & set(sys.modules), "somebody imported what is not there"
    sys.stdout.write("\n" + json.dumps(json.loads(written.read_text())["results"]))
