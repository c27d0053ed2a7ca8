# caught by: statelessness
"""Continues from the last call when no state is given."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.last = None

    def forward(self, x, state=None):
        past = state if state is not None else self.last[: x.shape[0]] if self.last is not None and self.last.shape[0] >= x.shape[0] else torch.zeros_like(x[:, :1])
        h = past + self.value(x).cumsum(1)
        state = h[:, -1:]
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        self.last = state.detach()
        return y, state
