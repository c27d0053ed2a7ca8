# caught by: same work
# hack: tunes itself while timed
"""Tries four ways at every new shape, inside the first timed call."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

TUNED = set()


def gated_delta_rule(q, k, v, g, beta, initial_state):
    if q.shape not in TUNED:
        TUNED.add(q.shape)
        with torch.no_grad():
            for C in (8, 16, 32, 64):
                chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state, C)
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
