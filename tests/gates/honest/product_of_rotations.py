"""A state that is turned by each token and never shrinks."""

import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.pairs = d_model // 2
        self.angle, self.value = nn.Linear(d_model, self.pairs), nn.Linear(d_model, 2 * self.pairs)
        self.out = nn.Linear(2 * self.pairs, d_model)

    def forward(self, x, state=None):
        angle = self.angle(x)
        real, imaginary = self.value(x).chunk(2, -1)
        phase, re, im = angle.new_zeros(3, len(x), self.pairs) if state is None else state
        phases = phase[:, None] + angle.cumsum(1)
        cos, sin = phases.cos(), phases.sin()
        re = re[:, None] + (cos * real + sin * imaginary).cumsum(1)
        im = im[:, None] + (cos * imaginary - sin * real).cumsum(1)
        y = torch.cat((cos * re - sin * im, sin * re + cos * im), -1)
        return self.out(y.tanh()), (phases[:, -1], re[:, -1], im[:, -1])
