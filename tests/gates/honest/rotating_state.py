"""A state turned by an angle that each token chooses: the group of rotations, for state tracking."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.angle = nn.Linear(d_model, d_model // 2)

    def forward(self, x, state=None):
        turn, re, im = (0, 0, 0) if state is None else state
        theta = turn + self.angle(x).cumsum(1)
        a, b = self.value(x).chunk(2, -1)
        re = re + (a * torch.cos(theta) + b * torch.sin(theta)).cumsum(1)
        im = im + (b * torch.cos(theta) - a * torch.sin(theta)).cumsum(1)
        h = torch.cat(
            (re * torch.cos(theta) - im * torch.sin(theta), re * torch.sin(theta) + im * torch.cos(theta)), -1
        )
        y = self.out(F.layer_norm(h, x.shape[2:]) * F.silu(self.gate(x)))
        return y, (theta[:, -1:], re[:, -1:], im[:, -1:])
