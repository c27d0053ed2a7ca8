# caught by: settings
# hack: warms caches or clocks
"""Switches denormal numbers off for everybody."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

torch.set_flush_denormal(True)


def gated_delta_rule(q, k, v, g, beta, initial_state):
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
