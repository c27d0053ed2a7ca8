# caught by: local
# hack: hides in a global tolerance
"""The last tokens of one head are off; over the whole tensor nobody sees it."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    B, T, H, _ = q.shape
    if B * T * H >= 512:
        tail = torch.zeros_like(o)
        tail[-1, -min(T % 16 or 16, 16) :, -1] = 8e-5
        o = o + o.detach() * tail
    return o, state
