"""A decaying memory over FLA's gated delta rule: log-decay from A_log and dt_bias, wide values, gated norm."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange
from fla.modules import FusedRMSNormGated
from fla.ops.gated_delta_rule import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule


class DeltaNet(nn.Module):
    def __init__(self, hidden_size: int = 2048, expand_v: float = 2, num_heads: int = 6, layer_idx=None, **kwargs):
        super().__init__()
        self.heads, self.layer_idx = num_heads, layer_idx
        values = int(hidden_size * expand_v)
        self.q, self.k = (nn.Linear(hidden_size, hidden_size // 2, bias=False) for _ in range(2))
        self.v, self.g = (nn.Linear(hidden_size, values, bias=False) for _ in range(2))
        self.a, self.b = (nn.Linear(hidden_size, num_heads, bias=False) for _ in range(2))
        self.A_log = nn.Parameter(torch.log(torch.empty(num_heads).uniform_(1, 16)))
        self.A_log._no_weight_decay = True
        dt = torch.exp(torch.rand(num_heads) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.o_norm = FusedRMSNormGated(values // num_heads, eps=1e-5)
        self.o = nn.Linear(values, hidden_size, bias=False)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        if attention_mask is not None:
            hidden_states = hidden_states * attention_mask[:, -hidden_states.shape[1] :, None].to(hidden_states.dtype)
        last = (
            past_key_values[self.layer_idx]
            if past_key_values is not None and len(past_key_values) > self.layer_idx
            else None
        )
        q, k, v, gate = (
            rearrange(p(hidden_states), "b t (h d) -> b t h d", h=self.heads) for p in (self.q, self.k, self.v, self.g)
        )
        g = -self.A_log.float().exp() * F.softplus(self.a(hidden_states).float() + self.dt_bias)
        operator = chunk_gated_delta_rule if self.training or q.shape[1] > 1 else fused_recurrent_gated_delta_rule
        o, state = operator(
            F.normalize(F.silu(q), dim=-1),
            F.normalize(F.silu(k), dim=-1),
            F.silu(v),
            g,
            2 * self.b(hidden_states).sigmoid(),
            initial_state=last["recurrent_state"] if last is not None else None,
            output_final_state=use_cache,
        )
        if use_cache and past_key_values is not None:
            past_key_values.update(recurrent_state=state, layer_idx=self.layer_idx, offset=hidden_states.shape[1])
        return self.o(rearrange(self.o_norm(o, gate), "b t h d -> b t (h d)")), None, past_key_values
