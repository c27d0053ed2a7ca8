"""A fast and a slow exponential average, token by token."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.rates = nn.Parameter(torch.tensor([-3.0, 0.0]))

    def forward(self, x, state=None):
        a = torch.sigmoid(self.rates)
        v = self.value(x)
        fast, slow = (torch.zeros_like(x[:, 0]),) * 2 if state is None else state
        outs = []
        for v_t in v.unbind(1):
            fast = fast + a[1] * (v_t - fast)
            slow = slow + a[0] * (v_t - slow)
            outs.append(fast - slow)
        return self.out(torch.stack(outs, 1) * F.silu(self.gate(x))), (fast, slow)
