# caught by: peak_memory
"""A mask of all pairs, of one byte each, that its own backward pass makes and counts."""

import torch
import torch.nn.functional as F
from torch import nn


class RunningSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        return v.cumsum(1)

    @staticmethod
    def backward(ctx, grad):
        places = torch.arange(grad.shape[1])
        mask = places[:, None] <= places
        return grad.flip(1).cumsum(1).flip(1) + 0 * mask.sum(1)[:, None]


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        h = (torch.zeros_like(x[:, :1]) if state is None else state) + RunningSum.apply(self.value(x))
        return self.out(F.layer_norm(h, x.shape[2:]) * F.silu(self.gate(x))), h[:, -1:]
