"""Recomputes its activations in training."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        past = torch.zeros_like(x[:, :1]) if state is None else state
        h = checkpoint(self.memory, x, past, use_reentrant=False) if self.training else self.memory(x, past)
        return self.out(F.layer_norm(h, x.shape[2:])), h[:, -1:]

    def memory(self, x, past):
        return past + (self.value(x) * F.silu(self.gate(x))).cumsum(1)
