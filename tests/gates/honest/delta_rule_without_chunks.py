"""The delta rule, one token at a time."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.beta = nn.Linear(d_model, num_heads)

    def forward(self, x, state=None):
        B, T, D = x.shape
        H, K = self.heads, D // self.heads
        q, k, v = self.qkv(x).view(B, T, 3, H, K).permute(2, 0, 3, 1, 4)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        beta = torch.sigmoid(self.beta(x)).transpose(1, 2)[..., None]
        S = x.new_zeros(B, H, K, K) if state is None else state
        outs = []
        for q_t, k_t, v_t, b_t in zip(q.unbind(2), k.unbind(2), v.unbind(2), beta.unbind(2), strict=True):
            error = v_t - (S * k_t[..., None]).sum(-2)
            S = S + k_t[..., None] * (b_t * error)[..., None, :]
            outs.append((S * q_t[..., None]).sum(-2))
        o = torch.stack(outs, 2)
        return self.out(o.transpose(1, 2).reshape(B, T, D)), S
