"""A ring buffer of the last twelve inputs, read by learned offsets."""

import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.taps = nn.Parameter(torch.randn(12, d_model) / 12)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        past = x.new_zeros(x.shape[0], 12, x.shape[2]) if state is None else state
        held = torch.cat((past, x), 1)
        y = (held.unfold(1, 12, 1)[:, 1:] * self.taps.T).sum(-1)
        return self.out(y.relu()), held[:, -12:]
