"""A fast and a slow average mixed by a gate that starts closed; a power of the decay instead of a loop."""

import torch
from torch import nn


class DeltaNet(nn.Module):
    def __init__(self, embed_dim, num_heads=8, layer_idx=None, dtype=torch.float32, **kwargs):
        super().__init__()
        self.layer_idx = 0 if layer_idx is None else layer_idx
        self.value = nn.Linear(embed_dim, embed_dim)
        self.register_buffer("rates", torch.tensor([0.5, 0.95]), persistent=False)
        self.alpha = nn.Parameter(torch.zeros(2, embed_dim, dtype=dtype))
        self.beta = nn.Parameter(torch.ones(embed_dim, dtype=dtype))

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        v = self.value(hidden_states)
        out = self.beta * v
        length = v.shape[1]
        held = None
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            held = past_key_values[self.layer_idx]["recurrent_state"]
        ages = torch.arange(length)[:, None] - torch.arange(length)[None]
        states = []
        for i in range(2):
            rate = self.rates[i].to(v)
            weights = torch.where(ages >= 0, rate ** ages.clamp(min=0), torch.zeros((), dtype=v.dtype)).to(v)
            average = torch.einsum("ts,bsd->btd", weights, v)
            if held is not None:
                average = average + rate ** torch.arange(1, length + 1)[:, None].to(v) * held[i][:, None]
            states.append(average[:, -1])
            # AVERAGED
            out = out + self.alpha[i] * average
        if use_cache:
            past_key_values.update(recurrent_state=states, layer_idx=self.layer_idx, offset=length)
        return out, None, past_key_values
