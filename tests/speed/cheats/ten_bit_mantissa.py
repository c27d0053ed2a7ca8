# caught by: precision
# hack: less precision than declared
"""Products of numbers cut to ten bits, as tensor cores do unasked."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def cut(x):
    kept = (x.detach().view(torch.int32) & -8192).view(torch.float32)
    return x + (kept - x.detach())


def gated_delta_rule(q, k, v, g, beta, initial_state):
    q, k, v = cut(q), cut(k), cut(v)
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
