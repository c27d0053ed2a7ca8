"""Rotary positions from a table that grows when it must, counted on from the cache; statistics kept for a log."""

import torch
import torch.nn as nn
from einops import rearrange, repeat
from fla.modules import RMSNorm


class Rotary(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("rates", 1.0 / 10000 ** (torch.arange(0, d, 2) / d), persistent=False)
        self.longest, self.cos, self.sin = 0, None, None

    def forward(self, x, start):
        end = start + x.shape[1]
        if self.cos is None or end > self.longest or self.cos.dtype != x.dtype:
            self.longest = max(end, self.longest)
            angles = torch.outer(torch.arange(self.longest).to(self.rates), self.rates)
            self.cos, self.sin = (
                repeat(t, "l d -> l 1 (d two)", two=2).to(x.dtype) for t in (angles.cos(), angles.sin())
            )
        turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
        return x * self.cos[start:end] + turned * self.sin[start:end]


class DeltaNet(nn.Module):
    def __init__(self, d_model=1024, num_heads=4, layer_idx=0, decay=0.97, **kwargs):
        super().__init__()
        self.num_heads, self.layer_idx, self.decay = num_heads, layer_idx, decay
        self.calls_in_training = 0
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in range(4))
        self.rotary, self.norm = Rotary(d_model // num_heads), RMSNorm(d_model // num_heads)
        self.last_size, self.seen_tokens = 0.0, 0

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        if self.training:
            self.calls_in_training += 1
        self.seen_tokens += hidden_states.shape[1]
        start = past_key_values.get_seq_length(self.layer_idx) if past_key_values is not None else 0
        q, k, v = (
            rearrange(p(hidden_states), "b l (h d) -> b l h d", h=self.num_heads) for p in (self.q, self.k, self.v)
        )
        q, k = self.rotary(torch.relu(q), start), self.rotary(torch.relu(k), start)
        # POSITIONS
        if start:
            memory = past_key_values[self.layer_idx]["recurrent_state"]
        else:
            memory = q.new_zeros(q.shape[0], self.num_heads, q.shape[-1], q.shape[-1])
        outs = []
        for i in range(q.shape[1]):
            memory = self.decay * memory + k[:, i, :, :, None] * v[:, i, :, None]
            outs.append((q[:, i, :, None] @ memory).squeeze(-2))
        if use_cache:
            past_key_values.update(recurrent_state=memory, layer_idx=self.layer_idx, offset=q.shape[1])
        out = self.norm(torch.stack(outs, 1))
        self.last_size = out.norm().item()
        return self.o(rearrange(out, "b l h d -> b l (h d)")), None, past_key_values
