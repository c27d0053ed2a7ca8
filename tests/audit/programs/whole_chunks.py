"""Retention in whole chunks with a tail in a loop; the state knows where in its chunk it stands."""

import torch
import torch.nn as nn
from einops import einsum, rearrange
from fla.modules.l2norm import l2norm
from fla.modules.layernorm import RMSNorm

CHUNK = 32


class DeltaNet(nn.Module):
    """Memory decays once a chunk, between its tokens it only grows: `seen` says how many it holds."""

    def __init__(self, hidden_size: int = 128, num_heads: int = 4, layer_idx: int = 0, **kwargs):
        super().__init__()
        self.num_heads, self.layer_idx = num_heads, layer_idx
        self.qk, self.v = nn.Linear(hidden_size, 2 * hidden_size), nn.Linear(hidden_size, hidden_size)
        self.retain = nn.Parameter(torch.full((num_heads,), 1.0))
        self.norm = RMSNorm(hidden_size // num_heads)
        self.o = nn.Linear(hidden_size, hidden_size)
        self.o.weight.data.mul_(0.02)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        q, k = rearrange(self.qk(hidden_states), "b l (two h d) -> two b l h d", two=2, h=self.num_heads)
        v = rearrange(self.v(hidden_states), "b l (h d) -> b l h d", h=self.num_heads)
        q, k = l2norm(q), l2norm(k)
        state, seen = q.new_zeros(q.shape[0], self.num_heads, q.shape[-1], q.shape[-1]), 0
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            state, seen = past_key_values[self.layer_idx]["recurrent_state"]
        keep = (0.6 + 0.4 * torch.sigmoid(self.retain))[:, None, None]
        outs, start = [], 0
        while start < q.shape[1]:
            if seen == CHUNK:
                state, seen = keep * state, 0
            stop = min(start + CHUNK - seen, q.shape[1])
            part = slice(start, stop)
            scores = einsum(q[:, part], k[:, part], "b i h d, b j h d -> b h i j").tril()
            within = einsum(scores, v[:, part], "b h i j, b j h d -> b i h d")
            outs.append(within + einsum(q[:, part], state, "b i h k, b h k v -> b i h v"))
            state = state + einsum(k[:, part], v[:, part], "b i h k, b i h v -> b h k v")
            start, seen = stop, seen + stop - start
        if past_key_values is not None:
            past_key_values.update(recurrent_state=(state, seen), layer_idx=self.layer_idx, offset=q.shape[1])
        out = torch.cat(outs, 1)
        return self.o(rearrange(self.norm(out), "b l h d -> b l (h d)")), None, past_key_values
