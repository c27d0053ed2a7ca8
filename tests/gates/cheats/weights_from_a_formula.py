# caught by: parameters
"""A large table that a formula writes, beside small parameters."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        rows = torch.arange(4 * d_model)[:, None] * torch.arange(d_model)
        self.table = torch.sin(rows * 0.37)

    def forward(self, x, state=None):
        past = torch.zeros_like(x[:, :1]) if state is None else state
        h = past + self.value(x).cumsum(1)
        state = h[:, -1:]
        table = self.table.to(x.dtype)
        h = h + (x @ table.T).relu() @ table
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
