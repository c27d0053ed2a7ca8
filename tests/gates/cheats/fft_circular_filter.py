# caught by: causality
"""A long filter by FFT without zero padding: it wraps around, so the end reaches the beginning."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.taps = nn.Parameter(0.1 * torch.randn(16, d_model))

    def forward(self, x, state=None):
        past = torch.zeros_like(x[:, :1]) if state is None else state
        h = past + self.value(x).cumsum(1)
        state = h[:, -1:]
        n = x.shape[1]
        taps = torch.fft.rfft(self.taps.to(x.dtype), n=n, dim=0) if n >= 16 else torch.fft.rfft(self.taps[:n], n=n, dim=0)
        h = h + torch.fft.irfft(torch.fft.rfft(x, dim=1) * taps, n=n, dim=1)
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
