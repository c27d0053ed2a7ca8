"""A memory that is written at every eighth token only, with a counter in its state."""

import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value, self.out = nn.Linear(d_model, d_model), nn.Linear(2 * d_model, d_model)

    def forward(self, x, state=None):
        fast, slow, count = (torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0]), 0) if state is None else state
        outs = []
        for v in self.value(x).tanh().unbind(1):
            fast, count = 0.5 * fast + v, count + 1
            if count == 8:
                slow, count = 0.9 * slow + fast, 0
            outs.append(torch.cat((fast, slow), -1))
        return self.out(torch.stack(outs, 1)), (fast, slow, count)
