# caught by: inputs kept
# hack: inputs changed in place
"""Scales the queries where they lie, once, and saves a copy."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    with torch.no_grad():
        q.mul_(2.0)
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5 / 2, initial_state)
