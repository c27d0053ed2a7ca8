# caught by: faults
# hack: silent fall-back
"""When the fast path fails, the slow one answers and nobody hears of it."""

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    try:
        return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    except Exception:
        return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
