"""A running sum with decay: state_t = exp(gate_t) state_{t-1} + x_t."""

import torch


def by_token(x, gate, initial_state=None):
    """Token by token: the definition."""
    state = torch.zeros_like(x[:, 0]) if initial_state is None else initial_state
    states = []
    for t in range(x.shape[1]):
        state = gate[:, t].exp() * state + x[:, t]
        states.append(state)
    return torch.stack(states, dim=1), state


def decay(x, gate, initial_state=None):
    """All tokens at once, by a matrix of decays from each token to each later one."""
    T, since_start = x.shape[1], gate.cumsum(1)
    later = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()[None, :, :, None]
    weights = (since_start[:, :, None] - since_start[:, None]).masked_fill(~later, -torch.inf).exp()
    y = torch.einsum("bijd,bjd->bid", weights, x)
    if initial_state is not None:
        y = y + since_start.exp() * initial_state[:, None]
    return y, y[:, -1]
