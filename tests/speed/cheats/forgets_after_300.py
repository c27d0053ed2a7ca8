# caught by: long memory
# hack: far context dropped
"""Starts afresh 300 tokens before the end: no loss where gates forget."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    if q.shape[1] <= 300:
        return o, state
    late = [x[:, -300:] for x in (q, k, v, g, beta)]
    o_late, state = chunked(*late, q.shape[-1] ** -0.5, 0 * initial_state)
    return torch.cat((o[:, :-16], o_late[:, -16:]), dim=1), state
