# caught by: fresh data
# hack: cache by identity, pointer, content or version
"""Trusts that a tensor of the same version holds the same values."""

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

KNOWN = {}


def gated_delta_rule(q, k, v, g, beta, initial_state):
    mark = tuple(q.shape), q._version, v._version
    if mark not in KNOWN:
        o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
        KNOWN[mark] = o.detach(), state.detach()
        return o, state
    o, state = KNOWN[mark]
    touched = sum(x.sum() for x in (q, k, v, g, beta, initial_state)) * 0
    return o + touched, state + touched
