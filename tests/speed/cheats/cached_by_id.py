# caught by: fresh data
# hack: cache by identity, pointer, content or version
"""Knows a tensor by its identity and does not look into it again."""

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

KNOWN = {}


def gated_delta_rule(q, k, v, g, beta, initial_state):
    if id(q) not in KNOWN:
        o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
        KNOWN[id(q)] = q, o.detach(), state.detach()
        return o, state
    _, o, state = KNOWN[id(q)]
    touched = sum(x.sum() for x in (q, k, v, g, beta, initial_state)) * 0
    return o + touched, state + touched
