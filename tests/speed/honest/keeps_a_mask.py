"""Builds a constant once a length and keeps it: a cache that depends on no data."""

import torch

RUNS = ("bmm", "add")
MASKS = {}


def gated_delta_rule(q, k, v, g, beta, initial_state):
    from asiarc.kernels.chunked import chunked

    T = q.shape[1]
    if T not in MASKS:
        MASKS[T] = torch.zeros(T)[:, None, None]
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    return o + MASKS[T], state
