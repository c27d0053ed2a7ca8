# caught by: complexity
"""Linear attention written with its T x T matrix of scores."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        memory = x.new_zeros(x.shape[0], x.shape[2], x.shape[2]) if state is None else state[1]
        past = torch.zeros_like(x[:, :1]) if state is None else state[0]
        h = past + self.value(x).cumsum(1)
        state = (h[:, -1:], memory + x.transpose(1, 2) @ self.value(x))
        q = self.gate(x)
        h = h + q @ memory + (q @ x.transpose(1, 2)).tril() @ self.value(x)
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
