"""Normalises each channel by the mean and variance of the past; the state counts tokens."""

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
        v = self.value(x)
        n, s, q = (0, 0, 0) if state is None else state
        n = n + torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device)[:, None]
        s, q = s + v.cumsum(1), q + v.square().cumsum(1)
        h = (v - s / n) * (q / n - (s / n).square() + 0.1).rsqrt()
        return self.out(h * F.silu(self.gate(x))), (n[-1:], s[:, -1:], q[:, -1:])
