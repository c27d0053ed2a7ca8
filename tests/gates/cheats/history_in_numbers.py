# caught by: complexity
"""Keeps a number of every token in its state, where no tensor counts it."""

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
        past, seen = (torch.zeros_like(x[:, :1]), []) if state is None else state
        h = past + self.value(x).cumsum(1)
        new = [tuple(float(number) for number in row.mean(-1)) for row in x.detach().unbind(1)]
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, (h[:, -1:], [*seen, *new])
