"""Folders of models that were never trained, as an export writes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from asiarc.core.recipe import MICRO
from asiarc.export import folder as files
from asiarc.models.backbone import build

TINY = MICRO.at(d_model=32)
HIDDEN = 24


def exported(folder, name, source, *, recipe=TINY):
    """The folder of an untrained model, with what asiarc's own model gives for a few tokens."""
    folder.mkdir(parents=True)
    model = build(source, recipe, "tests", hidden=HIDDEN).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():  # away from the constants that some start at
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(tensors, folder / files.WEIGHTS, {"format": "pt"})
    files.write_model(folder, name, source, "A model of the tests.", recipe, HIDDEN, {})
    files.write_tokenizer(folder)
    ids = torch.randint(1, 256, (3, 21), generator=generator)
    with torch.no_grad():
        mask = torch.ones_like(ids)
        greedy = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=12, min_new_tokens=12)
        torch.save({"ids": ids, "logits": model(ids).logits, "greedy": greedy}, folder / "reference.pt")
    return folder


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """Runs a script of this folder in a process of its own, with no network and a home of its own."""

    def run(script, *arguments):
        home = tmp_path_factory.mktemp("home")
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        command = [sys.executable, "-I", str(Path(__file__).with_name(script)), *map(str, arguments)]
        done = subprocess.run(
            command, env=environment, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
