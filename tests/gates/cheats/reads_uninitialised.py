# caught by: determinism
"""Adds what lies about in fresh memory."""

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
        scratch = torch.empty_like(x)
        h = h + scratch.nan_to_num(0.0, 0.0, 0.0).clamp(-1e-3, 1e-3)
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
