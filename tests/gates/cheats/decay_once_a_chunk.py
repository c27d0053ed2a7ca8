# caught by: state_handover
"""A retention applied at chunk edges counted from the segment's start."""

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
        chunk = torch.arange(x.shape[1]) // 32
        kept = 0.5 ** chunk[:, None].to(x.dtype)
        past = torch.zeros_like(x[:, :1]) if state is None else state
        h = past + (kept * self.value(x)).cumsum(1)
        state = h[:, -1:]
        y = self.out(h * F.silu(self.gate(x)))
        return y, state
