# caught by: plain tensors
# hack: lazy tensor
"""Returns a promise that computes when somebody looks."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

class Promise(torch.Tensor):
    pass


def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    return o.as_subclass(Promise), state
