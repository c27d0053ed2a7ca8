"""A fixed bank of dyadic averages, and parameters only to weigh them."""

import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.register_buffer("rates", 1 - 0.5 ** torch.arange(1.0, 5))
        self.weigh, self.out = nn.Linear(d_model, 4), nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        rates = self.rates.to(x.dtype)[:, None]
        h = x.new_zeros(x.shape[0], 4, x.shape[2]) if state is None else state
        outs = []
        for x_t in x.unbind(1):
            h = rates * h + (1 - rates) * x_t[:, None]
            outs.append(h)
        bands = torch.stack(outs, 1)
        return self.out((self.weigh(x).softmax(-1)[..., None] * bands).sum(2)), h
