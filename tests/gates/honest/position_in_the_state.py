"""Cosine position features, counted on in the state as an integer."""

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
        c, s, n = (torch.zeros_like(x[:, :1]), torch.zeros_like(x[:, :1]), 0) if state is None else state
        t = torch.arange(n, n + x.shape[1], dtype=x.dtype, device=x.device)[:, None] / 50
        v = self.value(x)
        c, s = c + (v * torch.cos(t)).cumsum(1), s + (v * torch.sin(t)).cumsum(1)
        y = self.out((c * torch.cos(t) + s * torch.sin(t)) * F.silu(self.gate(x)))
        return y, (c[:, -1:], s[:, -1:], n + x.shape[1])
