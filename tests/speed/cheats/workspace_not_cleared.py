# caught by: poison
# hack: garbage that happens to work
"""Adds to memory that is zero most of the time."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    workspace = torch.empty(1 << 20)  # fresh pages of the system are zero
    return o + workspace[-1] * 1e-30, state
