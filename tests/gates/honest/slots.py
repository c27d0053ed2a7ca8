"""Sixteen slots, written by soft addresses and read by softmax."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.write = nn.Linear(d_model, 16)
        self.read = nn.Linear(d_model, 16)

    def forward(self, x, state=None):
        slots = x.new_zeros(x.shape[0], 16, x.shape[2]) if state is None else state
        w, r, v = self.write(x).softmax(-1), self.read(x).softmax(-1), self.value(x)
        outs = []
        for w_t, r_t, v_t in zip(w.unbind(1), r.unbind(1), v.unbind(1), strict=True):
            slots = slots + w_t[..., None] * (v_t[:, None] - slots)
            outs.append((r_t[..., None] * slots).sum(1))
        return self.out(torch.stack(outs, 1) * F.silu(self.gate(x))), slots
