"""Brings its own cache: a tuple of tensors that it takes back as `past_key_values`; an auxiliary loss in training."""

import torch
import torch.nn as nn
from torch import Tensor


class Base(nn.Module):
    def __init__(self, hidden_size: int = 32, num_heads: int = 2):
        super().__init__()
        self.hidden_size, self.num_heads = hidden_size, num_heads
        self.proj = nn.Linear(hidden_size, 3 * hidden_size)


@torch.compile(mode="max-autotune", dynamic=True)
def scan(a: Tensor, b: Tensor, h: Tensor):
    outs = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + (1 - a_t) * b_t
        outs.append(h)
    return torch.stack(outs, dim=1), h


class DeltaNet(Base):
    def __init__(self, layer_idx: int = 0, entropy_weight: float = 0.01, **kwargs):
        super().__init__(**kwargs)
        self.layer_idx, self.entropy_weight = layer_idx, entropy_weight
        self.step = 0

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        a, b, g = self.proj(hidden_states.cuda() if hidden_states.is_cuda else hidden_states).chunk(3, -1)
        a = torch.sigmoid(a + 2)
        h = torch.zeros_like(b[:, 0]) if past_key_values is None else past_key_values[0]
        out, h = scan(a, b.tanh(), h)
        auxiliary = None
        if self.training:
            self.step += 1
            auxiliary = self.entropy_weight * (a * a.log()).mean()
        return out * nn.functional.silu(g), auxiliary, (h,) if use_cache else None
