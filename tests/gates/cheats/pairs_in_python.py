# caught by: complexity
"""Compares every token with every token before it, in Python, where no operator counts it."""

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
        past = torch.zeros_like(x[:, :1]) if state is None else state
        h = past + self.value(x).cumsum(1)
        keys = [i * 0.7 % 1 for i in range(x.shape[1])]
        total = 0.0
        for now in keys:
            for then in keys:
                total += now * then
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y + 0 * total, h[:, -1:]
