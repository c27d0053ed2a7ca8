# caught by: inert_parts
"""Adds one number to all logits of a softmax, which does not see it."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.route = nn.Linear(d_model, 3, bias=False)
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, x, state=None):
        past = torch.zeros_like(x[:, :1]) if state is None else state
        h = past + self.value(x).cumsum(1)
        state = h[:, -1:]
        weights = (self.route(x) + self.level).softmax(-1)
        h = h * weights[..., :1] + x * weights[..., 1:2]
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
