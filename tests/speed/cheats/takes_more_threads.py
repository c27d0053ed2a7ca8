# caught by: settings
# hack: warms caches or clocks
"""Asks for two cores in a contest of one."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

torch.set_num_threads(2)


def gated_delta_rule(q, k, v, g, beta, initial_state):
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
