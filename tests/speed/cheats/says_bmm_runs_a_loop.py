# caught by: declared path
# hack: another path than declared
"""The fast path is declared; its condition never holds."""

import torch

RUNS = ("bmm",)


def gated_delta_rule(q, k, v, g, beta, initial_state):
    if q.shape[1] < 0:
        return torch.bmm(q, k)
    S, outputs = initial_state, []
    for t in range(q.shape[1]):
        S = g[:, t].exp()[..., None, None] * S
        read = (k[:, t, :, :, None] * S).sum(2)
        S = S + k[:, t, :, :, None] * (beta[:, t, :, None] * (v[:, t] - read))[:, :, None]
        outputs.append(q.shape[-1] ** -0.5 * (q[:, t, :, :, None] * S).sum(2))
    return torch.stack(outputs, dim=1), S
