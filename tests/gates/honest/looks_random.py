"""Routes by a hash of the content that looks random and is not."""

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
        hashed = torch.frac(torch.sin(x.detach().sum(-1, keepdim=True) * 12.9898) * 43.758)
        h = (0 if state is None else state) + torch.where(hashed > 0, v, -v).cumsum(1)
        return self.out(F.layer_norm(h, x.shape[2:]) * F.silu(self.gate(x))), h[:, -1:]
