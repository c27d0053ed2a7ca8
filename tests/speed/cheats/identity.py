# caught by: correct
# hack: constant, identity or zero output
"""Hands its values through."""

RUNS = ("mul",)


def gated_delta_rule(q, k, v, g, beta, initial_state):
    return v * 1, initial_state * 1
