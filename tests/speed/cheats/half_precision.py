# caught by: precision
# hack: less precision than declared
"""Computes float32 in bfloat16's digits."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    q, k, v = (x.to(torch.bfloat16).float() for x in (q, k, v))
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
