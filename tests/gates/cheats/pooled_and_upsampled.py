# caught by: causality
"""Average pooling by 2 and back: every even token sees the odd one after it."""

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
        n = x.shape[1]
        pairs = F.avg_pool1d(F.pad(x, (0, 0, 0, n % 2)).transpose(1, 2), 2)
        h = h + pairs.repeat_interleave(2, dim=2).transpose(1, 2)[:, :n]
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
