# caught by: static
"""Takes a module out of a kernel's namespace."""

import torch
import torch.nn.functional as F
from asiarc.kernels.short_convolution import torch as t
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
        y = self.out(F.layer_norm(h, h.shape[-1:]) * F.silu(self.gate(x)))
        return y, state
