"""Gated delta rule, a long filter and the value itself, mixed by independent sigmoid gates."""

import torch
import torch.nn.functional as F
from torch import nn

from asiarc.kernels.fir import fir
from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.l2_norm import l2_norm


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.control = nn.Linear(d_model, 5 * num_heads)
        self.taps = nn.Parameter(torch.randn(d_model, 31) / 31**0.5)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, state=None):
        B, T, _D = x.shape
        memory, line = (None, None) if state is None else state
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).unbind(2)
        g, beta, *gates = self.control(x).view(B, T, 5, self.heads).unbind(2)
        delta, memory = gated_delta_rule(
            l2_norm(q), l2_norm(k), v, F.logsigmoid(g + 3), torch.sigmoid(beta), initial_state=memory
        )
        filtered, line = fir(v.flatten(2), self.taps, initial_state=line)
        paths = (delta, filtered.view_as(v), v)
        o = sum(torch.sigmoid(gate)[..., None] * path for gate, path in zip(gates, paths, strict=True))
        return self.out(F.rms_norm(o, o.shape[-1:]).flatten(2)), (memory, line)
