"""Several modules in one file, the mixer not the last; experts chosen hard for each token; packed rows by a loop."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange
from einops.layers.torch import Rearrange


class Recurrence(nn.Module):
    def forward(self, x, decay, h):
        outs = []
        for t in range(x.size(1)):
            h = decay[:, t] * h + x[:, t]
            outs.append(h)
        return torch.stack(outs, 1), h


class DeltaNet(nn.Module):
    def __init__(self, hidden_size: int = 64, num_heads: int = 2, layer_idx: int = 0, experts: int = 3, **kwargs):
        super().__init__()
        self.layer_idx, self.experts = layer_idx, experts
        self.router = nn.Linear(hidden_size, experts)
        self.values = nn.ModuleList(nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(experts))
        self.decay = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.Sigmoid())
        self.split = Rearrange("b l (h d) -> b l h d", h=num_heads)
        self.recurrence, self.norm = Recurrence(), nn.GroupNorm(num_heads, hidden_size)
        self.norm_out = Norm(hidden_size)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        chosen = F.one_hot(self.router(hidden_states).argmax(-1), self.experts).to(hidden_states)
        soft = self.router(hidden_states).softmax(-1)
        weights = chosen + soft - soft.detach()
        # ROUTED
        v = sum(weights[..., i : i + 1] * value(hidden_states) for i, value in enumerate(self.values))
        if attention_mask is not None:
            v = v.masked_fill(attention_mask[:, -v.size(1) :, None] == 0, 0)
        h = torch.zeros_like(v[:, 0])
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            h = past_key_values[self.layer_idx]["recurrent_state"]
        y, h = self.recurrence(v, self.decay(hidden_states), h)
        if past_key_values is not None:
            past_key_values.update(recurrent_state=h, layer_idx=self.layer_idx, offset=v.size(1))
        heads = self.split(y)
        y = rearrange(heads / (1 + heads.abs()), "b l h d -> b l (h d)")
        y = rearrange(self.norm(rearrange(y, "b l d -> (b l) d")), "(b l) d -> b l d", b=len(v))
        return self.norm_out(y), None, past_key_values


class Norm(nn.LayerNorm):
    pass
