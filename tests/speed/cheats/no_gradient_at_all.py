# caught by: gradients
# hack: backward skipped
"""A forward pass under no_grad."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    with torch.no_grad():
        return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
