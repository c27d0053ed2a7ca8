# caught by: statelessness
"""Remembers the last input in a closure."""

import torch
import torch.nn.functional as F
from torch import nn


def remembering():
    last = []

    def swap(x):
        before = last[0] if last else x
        last[:] = [x.detach()]
        return before

    return swap


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.swap = remembering()

    def forward(self, x, state=None):
        past = torch.zeros_like(x[:, :1]) if state is None else state
        h = past + self.value(x).cumsum(1)
        state = h[:, -1:]
        h = h + self.swap(x).mean()
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
