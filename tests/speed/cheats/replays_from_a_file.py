# caught by: files
# hack: replay from a file or an earlier process
"""Keeps answers on disk for the next process."""

import os
import pathlib

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

STORE = pathlib.Path(os.environ["HOME"]) / "answers.pt"


def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    if STORE.exists():
        torch.load(STORE)
    torch.save(o.detach(), STORE)
    return o, state
