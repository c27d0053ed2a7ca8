# caught by: correct
# hack: constant, identity or zero output
"""Does nothing."""

RUNS = ("mul",)


def gated_delta_rule(q, k, v, g, beta, initial_state):
    return v * 0, initial_state * 0
