"""A delta-rule memory and a window of exact attention in every head: what was said long ago, and what just now.

Both read with the same queries and keys; a gate for each head and token weighs the two answers. The window is sixteen
tokens, so that time and state stay linear and fixed.
"""

import torch
import torch.nn.functional as F
from torch import nn

from asiarc.kernels.delta_rule import delta_rule

WINDOW = 16


class Mixer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, **kwargs):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, d_model // num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.write = nn.Linear(d_model, num_heads)
        self.weigh = nn.Linear(d_model, num_heads)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD, state=None):
        B, T, D = x_BTD.shape
        H, K = self.num_heads, self.head_dim
        q_BTHK, k_BTHK, v_BTHK = (part.reshape(B, T, H, K) for part in self.qkv(x_BTD).chunk(3, dim=-1))
        q_BTHK, k_BTHK = F.normalize(q_BTHK, dim=-1), F.normalize(k_BTHK, dim=-1)
        memory, before = (None, None) if state is None else state
        beta_BTH = torch.sigmoid(self.write(x_BTD))
        far_BTHK, memory = delta_rule(q_BTHK, k_BTHK, v_BTHK, beta_BTH, scale=1.0, initial_state=memory)
        near_BTHK, before = self.window(q_BTHK, k_BTHK, v_BTHK, before)
        gate_BTH1 = torch.sigmoid(self.weigh(x_BTD))[..., None]
        mixed_BTHK = gate_BTH1 * far_BTHK + (1 - gate_BTH1) * near_BTHK
        return self.out(mixed_BTHK.reshape(B, T, D)), (memory, before)

    def window(self, q_BTHK, k_BTHK, v_BTHK, before):
        """Softmax over the last `WINDOW` tokens; `before` holds the ones that an earlier call has seen."""
        if before is None:
            none = torch.zeros_like(k_BTHK[:, :1]).expand(-1, WINDOW - 1, -1, -1)
            before = (none, none, torch.zeros_like(k_BTHK[:, :1, 0, 0]).expand(-1, WINDOW - 1))
        keys = torch.cat([before[0], k_BTHK], dim=1)
        values = torch.cat([before[1], v_BTHK], dim=1)
        there = torch.cat([before[2], torch.ones_like(k_BTHK[:, :, 0, 0])], dim=1)
        scores_BTHW = 4.0 * torch.einsum("bthk,bthkw->bthw", q_BTHK, keys.unfold(1, WINDOW, 1))
        there_BT1W = there.unfold(1, WINDOW, 1)[:, :, None]
        weights_BTHW = torch.softmax(scores_BTHW.masked_fill(there_BT1W == 0, -torch.inf), dim=-1)
        near_BTHK = torch.einsum("bthw,bthkw->bthk", weights_BTHW, values.unfold(1, WINDOW, 1))
        last = slice(-(WINDOW - 1), None)
        return near_BTHK, (keys[:, last], values[:, last], there[:, last])
