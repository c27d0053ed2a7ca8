# caught by: causality
"""Looks ahead only where the same token comes twice in a row, which noise never does."""

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
        state = h[:, -1:]
        ahead = F.pad(x, (0, 0, 0, 2))[:, 2:]
        again = F.pad((x[:, 1:] == x[:, :-1]).all(-1, keepdim=True), (0, 0, 0, 1))
        h = h + again * ahead
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
