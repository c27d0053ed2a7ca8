# caught by: poison
# hack: stale or uninitialised buffer
"""Allocates its output and hopes for what lay there."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    return torch.empty_like(o) + 0 * o, state
