"""Softmax over the last sixteen tokens, keys and values kept in the cache's attention state."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange


class DeltaNet(nn.Module):
    WINDOW = 16

    def __init__(self, d_model: int = 64, num_heads: int = 4, layer_idx: int = 0, dropout: float = 0.1, **kwargs):
        super().__init__()
        self.heads, self.layer_idx, self.dropout = num_heads, layer_idx, dropout
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        q, k, v = rearrange(self.qkv(hidden_states), "b t (three h d) -> three b t h d", three=3, h=self.heads)
        new = k.shape[1]
        if past_key_values is not None:
            kept = past_key_values.update(
                attn_state=(k.flatten(-2), v.flatten(-2)), layer_idx=self.layer_idx, offset=new
            )
            k, v = (rearrange(t, "b t (h d) -> b t h d", h=self.heads) for t in kept["attn_state"])
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        now = torch.arange(k.shape[2] - new, k.shape[2], device=q.device)[:, None]
        then = torch.arange(k.shape[2], device=q.device)[None]
        seen = (then <= now) & (then > now - self.WINDOW)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=self.dropout if self.training else 0.0)
        return self.out(rearrange(o, "b h t d -> b t (h d)")), None, past_key_values
