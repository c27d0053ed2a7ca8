"""Linear attention written with einops."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, state=None):
        q, k, v = rearrange(self.qkv(x), "b t (three h k) -> three b h t k", three=3, h=self.heads)
        S = 0 if state is None else state
        outs = []
        for q_c, k_c, v_c in zip(q.split(16, 2), k.split(16, 2), v.split(16, 2), strict=True):
            scores = einsum(q_c, k_c, "b h t k, b h s k -> b h t s").tril()
            outs.append(
                einsum(scores, v_c, "b h t s, b h s v -> b h t v")
                + q_c @ (S + 0 * einsum(k_c, v_c, "b h s k, b h s v -> b h k v"))
            )
            S = S + einsum(k_c, v_c, "b h s k, b h s v -> b h k v")
        return self.out(rearrange(F.rms_norm(torch.cat(outs, 2), q.shape[-1:]), "b h t k -> b t (h k)")), S
