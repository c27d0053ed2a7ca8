"""An autograd function of its own: an exact running sum both ways."""

import torch
import torch.nn.functional as F
from torch import nn


class RunningSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        return v.cumsum(1)

    @staticmethod
    def backward(ctx, grad):
        return grad.flip(1).cumsum(1).flip(1)


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        h = (torch.zeros_like(x[:, :1]) if state is None else state) + RunningSum.apply(self.value(x))
        return self.out(F.layer_norm(h, x.shape[2:]) * F.silu(self.gate(x))), h[:, -1:]
