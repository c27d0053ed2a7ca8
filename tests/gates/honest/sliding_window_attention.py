"""Softmax attention over the last 32 tokens, in blocks of 32; the state is 31 tokens of keys and values."""

import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.width = 32

    def forward(self, x, state=None):
        B, T, D = x.shape
        H, K = self.heads, D // self.heads
        q, k, v = self.qkv(x).view(B, T, 3, H, K).permute(2, 0, 3, 1, 4)
        W = self.width
        if state is None:
            pk, pv, n = (k.new_zeros(B, H, W - 1, K), v.new_zeros(B, H, W - 1, K), torch.zeros((), dtype=torch.long))
        else:
            pk, pv, n = state
        k, v = torch.cat((pk, k), 2), torch.cat((pv, v), 2)
        outs = []
        for i in range(0, T, W):
            q_c = q[:, :, i : i + W]
            k_c, v_c = k[:, :, i : i + W - 1 + q_c.shape[2]], v[:, :, i : i + W - 1 + q_c.shape[2]]
            row, col = torch.arange(q_c.shape[2])[:, None], torch.arange(k_c.shape[2])
            real = n + i + col - (W - 1) >= 0
            seen = (col >= row) & (col < row + W) & real
            outs.append((q_c @ k_c.mT / K**0.5).masked_fill(~seen, float("-inf")).softmax(-1) @ v_c)
        o = torch.cat(outs, 2)
        return self.out(o.transpose(1, 2).reshape(B, T, D)), (k[:, :, -(W - 1) :], v[:, :, -(W - 1) :], n + T)
