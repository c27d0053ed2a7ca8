# caught by: bitwise
# hack: garbage that happens to work
"""The last bits depend on who comes first."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    return o * (1 + 1e-7 * torch.randn_like(o)), state
