# caught by: complexity
"""Spells a mask of all pairs of tokens as a text, which no operator shows."""

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
        mask = ("01" * x.shape[1])[: x.shape[1]] * x.shape[1]
        h = (torch.zeros_like(x[:, :1]) if state is None else state) + self.value(x).cumsum(1) * (len(mask) > 0)
        return self.out(F.layer_norm(h, x.shape[2:]) * F.silu(self.gate(x))), h[:, -1:]
