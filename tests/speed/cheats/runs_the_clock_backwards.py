# caught by: patches
# hack: a time that is no time
"""Every measurement comes out negative."""

import time

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

REAL = time.perf_counter
time.perf_counter = lambda: -REAL()


def gated_delta_rule(q, k, v, g, beta, initial_state):
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
