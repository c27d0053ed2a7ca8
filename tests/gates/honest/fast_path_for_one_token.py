"""Decodes one token without the machinery for many, and gets the same."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, state=None):
        B, T, D = x.shape
        H, K = self.heads, D // self.heads
        q, k, v = self.qkv(x).view(B, T, 3, H, K).permute(2, 0, 3, 1, 4)
        k = F.elu(k) + 1
        S = x.new_zeros(B, H, K, K) if state is None else state
        if T == 1:
            S = S + k.mT * v
            o = q @ S
        else:
            outs = []
            for q_c, k_c, v_c in zip(q.split(64, 2), k.split(64, 2), v.split(64, 2), strict=True):
                outs.append(q_c @ S + (q_c @ k_c.mT).tril() @ v_c)
                S = S + k_c.mT @ v_c
            o = torch.cat(outs, 2)
        o = F.rms_norm(o, (K,))
        return self.out(o.transpose(1, 2).reshape(B, T, D)), S
