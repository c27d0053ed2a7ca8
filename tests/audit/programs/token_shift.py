"""Token shift and an exponential average in numbers of half width, cast back; weights under autocast."""

import torch
import torch.nn as nn
from fla.modules import LayerNorm, TokenShift  # noqa: F401


class DeltaNet(nn.Module):
    def __init__(self, d_model=None, hidden_size=None, num_heads=2, layer_idx=None, **kwargs):
        super().__init__()
        width = d_model or hidden_size
        assert width % num_heads == 0
        self.layer_idx, self.half = layer_idx or 0, width // 2
        self.mix = nn.Parameter(torch.full((width,), 0.5))
        self.key, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.log_decay = nn.Parameter(torch.zeros(width))
        self.norm = LayerNorm(width)

    def _shift(self, x, before):
        return torch.cat((before, x[:, :-1]), 1)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        x = hidden_states.to(torch.bfloat16).float()
        stored = past_key_values[self.layer_idx] if past_key_values is not None and len(past_key_values) else None
        before, average = (
            (torch.zeros_like(x[:, :1]), torch.zeros_like(x[:, 0])) if stored is None else stored["recurrent_state"]
        )
        mixed = torch.lerp(x, self._shift(x, before), self.mix.float())
        with torch.autocast(device_type=x.device.type, enabled=False):
            key = nn.functional.linear(mixed, self.key.weight.float(), self.key.bias.float())
        a, outs = torch.sigmoid(self.log_decay.float()), []
        for t in range(x.shape[1]):
            average = torch.addcmul((1 - a) * key[:, t], a, average)
            outs.append(average)
        if past_key_values is not None:
            past_key_values.update(recurrent_state=(x[:, -1:], average), layer_idx=self.layer_idx, offset=x.shape[1])
        y = torch.stack(outs, 1)
        y = torch.cat((y[..., : self.half], y[..., self.half :].tanh()), -1)
        return self.out(self.norm(y).to(hidden_states.dtype)), None, past_key_values
