# caught by: background
# hack: warms caches or clocks
"""A thread spins between calls so that clock and cache stay up."""

import threading

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

RUNNING = []


def spin():
    while True:
        sum(range(1000))


def gated_delta_rule(q, k, v, g, beta, initial_state):
    if not RUNNING:
        RUNNING.append(threading.Thread(target=spin, daemon=True))
        RUNNING[0].start()
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
