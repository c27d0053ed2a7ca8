"""Chunks of 16 with torch's triangular solve; decays by differences of short sums."""

import torch

RUNS = ("linalg_solve_triangular",)
C = 16


def gated_delta_rule(q, k, v, g, beta, initial_state):
    S, outputs, scale = initial_state, [], q.shape[-1] ** -0.5
    for start in range(0, q.shape[1], C):
        q_, k_, v_, g_, b_ = (x[:, start : start + C].transpose(1, 2) for x in (q, k, v, g, beta))
        n = q_.shape[2]
        lower = torch.ones(n, n, dtype=torch.bool).tril()
        # Sums of the gates between two tokens, so that a reset (-inf) meets no other infinity.
        steps = torch.where(lower.tril(-1), g_[..., :, None], 0.0).cumsum(-2)
        decay = steps.masked_fill(~lower, -torch.inf).exp()
        into = g_.cumsum(-1).exp()[..., None]
        A = torch.eye(n) + (b_[..., None] * (k_ @ k_.mT) * decay).tril(-1)
        y = torch.linalg.solve_triangular(A, b_[..., None] * (v_ - into * (k_ @ S)), upper=False, unitriangular=True)
        outputs.append((scale * (into * (q_ @ S) + (q_ @ k_.mT * decay) @ y)).transpose(1, 2))
        S = into[..., -1:, :] * S + (decay[..., -1, :, None] * k_).mT @ y
    return torch.cat(outputs, dim=1), S
