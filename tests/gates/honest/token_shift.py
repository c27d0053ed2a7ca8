"""RWKV's token shift and a running sum with learned decay."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.mix = nn.Parameter(torch.rand(d_model))
        self.decay = nn.Parameter(torch.zeros(d_model))

    def forward(self, x, state=None):
        last, S = (
            (torch.zeros_like(x[:, :1]), torch.zeros_like(x[:, 0])) if state is None else (state["last"], state["sum"])
        )
        shifted = torch.cat((last, x[:, :-1]), 1)
        v = self.value(x + self.mix * (shifted - x))
        a = torch.exp(-F.softplus(self.decay))
        outs = []
        for v_t in v.unbind(1):
            S = a * S + v_t
            outs.append(S)
        y = self.out(F.layer_norm(torch.stack(outs, 1), x.shape[2:]) * torch.sigmoid(self.gate(x)))
        return y, {"last": x[:, -1:], "sum": S}
