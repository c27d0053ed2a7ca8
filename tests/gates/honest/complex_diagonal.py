"""A diagonal state space with complex eigenvalues."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.rate = nn.Parameter(torch.rand(d_model))
        self.turn = nn.Parameter(torch.rand(d_model))

    def forward(self, x, state=None):
        a = torch.exp(torch.complex(-F.softplus(self.rate), self.turn))
        h = torch.zeros_like(x[:, 0]) * a if state is None else state
        outs = []
        for v_t in self.value(x).unbind(1):
            h = a * h + v_t
            outs.append(h.real + h.imag)
        return self.out(torch.stack(outs, 1) * F.silu(self.gate(x))), h
