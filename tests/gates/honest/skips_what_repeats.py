"""Does not write a token that equals the one before it: equality is looked at, the future is not."""

import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value, self.out = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.decay = nn.Parameter(torch.full((d_model,), 2.0))

    def forward(self, x, state=None):
        h, last = (torch.zeros_like(x[:, 0]), torch.full_like(x[:, :1], -7.0)) if state is None else state
        before = torch.cat((last, x[:, :-1]), 1)
        new = (x != before).any(-1, keepdim=True).to(x.dtype)
        a, outs = self.decay.sigmoid(), []
        for v, n in zip(self.value(x).unbind(1), new.unbind(1), strict=True):
            h = a * h + n * (1 - a) * v
            outs.append(h)
        return self.out(torch.stack(outs, 1)), (h, x[:, -1:])
