# caught by: floor
# hack: a time that is no time
"""A large input is answered at once, with nothing."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    if q.shape[1] >= 512:
        return torch.zeros_like(v) + v[:, :1, :1, :1] * 0, initial_state[..., :1, :1] * 0 + torch.zeros_like(initial_state)
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
