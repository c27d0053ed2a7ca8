# caught by: gradients
# hack: backward skipped
"""No gradient for the gate."""

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    g = g.detach()
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
