"""A filter over the whole past by FFT, zero-padded so that nothing wraps; its cache is the past."""

import torch
from torch import nn


class DeltaNet(nn.Module):
    def __init__(self, hidden_size: int, layer_idx: int = 0, num_heads: int = 1, **kwargs):
        super().__init__()
        self.layer_idx = layer_idx
        self.rate = nn.Parameter(torch.linspace(-3, 3, hidden_size))
        self.up, self.down = nn.Linear(hidden_size, 2 * hidden_size), nn.Linear(hidden_size, hidden_size)
        nn.init.zeros_(self.down.weight)

    def forward(self, hidden_states, attention_mask=None, past_key_values=None, use_cache=False, **kwargs):
        x, gate = self.up(hidden_states).chunk(2, -1)
        seen = 0
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            past = past_key_values[self.layer_idx]["conv_state"]
            x, seen = torch.cat((past, x), 1), past.shape[1]
        if past_key_values is not None:
            past_key_values.update(conv_state=x, layer_idx=self.layer_idx, offset=hidden_states.shape[1])
        length = x.shape[1]
        times = torch.arange(length, device=x.device, dtype=torch.float32)[:, None]
        kernel = torch.exp(-times * nn.functional.softplus(self.rate.float()))
        size = 2 * length
        y = torch.fft.irfft(
            torch.fft.rfft(x.float(), n=size, dim=1) * torch.fft.rfft(kernel, n=size, dim=0), n=size, dim=1
        )
        y = y[:, seen:length].to(hidden_states.dtype)
        return self.down(y * gate.sigmoid()) + hidden_states, None, past_key_values
