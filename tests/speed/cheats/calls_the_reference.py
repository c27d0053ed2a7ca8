# caught by: imports
# hack: calls the reference or a library
"""Lets the definition do the work."""

from asiarc.kernels.definitions import recurrence

RUNS = ("mul",)


def gated_delta_rule(q, k, v, g, beta, initial_state):
    return recurrence(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
