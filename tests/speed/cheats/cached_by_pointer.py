# caught by: fresh data
# hack: cache by identity, pointer, content or version
"""Knows inputs by where they lie."""

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

KNOWN = {}


def gated_delta_rule(q, k, v, g, beta, initial_state):
    where = q.data_ptr(), k.data_ptr(), v.data_ptr(), q.shape
    if where not in KNOWN:
        o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
        KNOWN[where] = o.detach(), state.detach()
        return o, state
    o, state = KNOWN[where]
    touched = sum(x.sum() for x in (q, k, v, g, beta, initial_state)) * 0
    return o + touched, state + touched
