"""Short and long filters, the delta rule and the values themselves, weighed by a gate that reads their statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange
from fla.layers.utils import get_unpad_data, index_first_axis, pad_input
from fla.modules import FusedRMSNormGated, RMSNorm, ShortConvolution
from fla.modules.l2norm import l2norm

if TYPE_CHECKING:
    from fla.models.utils import Cache
    from transformers.processing_utils import Unpack


@torch.compile
def chunked_delta_rule(q, k, v, beta, state, chunk_size: int = 16):
    length = q.shape[2]
    pad = (chunk_size - length % chunk_size) % chunk_size
    if pad:
        q, k, v = (F.pad(t, (0, 0, 0, pad)) for t in (q, k, v))
        beta = F.pad(beta, (0, pad))
    v, k_beta = v * beta[..., None], k * beta[..., None]
    q, k, v, k_beta = (rearrange(t, "b h (n c) d -> b h n c d", c=chunk_size) for t in (q, k, v, k_beta))
    upper = torch.triu(torch.ones(chunk_size, chunk_size, dtype=torch.bool, device=q.device), 0)
    inverse = -(k_beta @ k.transpose(-1, -2)).masked_fill(upper, 0)
    for i in range(1, chunk_size):
        inverse[..., i, :i] = inverse[..., i, :i] + (
            inverse[..., i, :, None].clone() * inverse[..., :, :i].clone()
        ).sum(-2)
    inverse = inverse + torch.eye(chunk_size, dtype=q.dtype, device=q.device)
    u, w = inverse @ v, inverse @ k_beta
    out = torch.zeros_like(v)
    for i in range(q.shape[2]):
        scores = (q[:, :, i] @ k[:, :, i].transpose(-1, -2)).masked_fill(upper & ~torch.eye(chunk_size).bool(), 0)
        fresh = u[:, :, i] - w[:, :, i] @ state
        out[:, :, i] = q[:, :, i] @ state + scores @ fresh
        state = state + k[:, :, i].transpose(-1, -2) @ fresh
    return rearrange(out, "b h n c d -> b h (n c) d")[:, :, :length], state


class CausalFilter(nn.Module):
    """Depthwise, left-padded, an impulse at first; hands on its last inputs."""

    def __init__(self, heads: int, d: int, taps: int):
        super().__init__()
        weight = torch.zeros(heads, d, taps)
        weight[..., -1] = 1.0
        self.taps = taps
        self.weight = nn.Parameter(weight + 0.02 * torch.randn_like(weight))

    def forward(self, x, past=None):  # b l h d
        h = x.shape[2]
        x = rearrange(x, "b l h d -> b (h d) l")
        padded = F.pad(x, (self.taps - 1, 0)) if past is None else torch.cat((past, x), -1)
        y = F.conv1d(padded, rearrange(self.weight, "h d k -> (h d) 1 k"), groups=x.shape[1])
        return rearrange(y, "b (h d) l -> b l h d", h=h), padded[..., -(self.taps - 1) :]


class DeltaNet(nn.Module):
    def __init__(
        self,
        mode: str = "chunk1",
        d_model: int | None = None,
        hidden_size: int = 1024,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_heads: int = 4,
        use_beta: bool = True,
        use_gate: bool = True,
        conv_size: int = 4,
        layer_idx: int | None = None,
        fir_short: int = 3,
        fir_long: int = 31,
        floor: float = 0.02,
        **kwargs: dict,
    ):
        super().__init__()
        if d_model is not None:
            hidden_size = d_model
        self.layer_idx, self.num_heads, self.floor = layer_idx or 0, num_heads, floor
        self.use_beta, self.use_gate = use_beta, use_gate
        self.key_dim, self.value_dim = int(hidden_size * expand_k), int(hidden_size * expand_v)
        self.q_proj = nn.Linear(hidden_size, self.key_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, self.key_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, self.value_dim, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.q_conv1d = ShortConvolution(self.key_dim, kernel_size=conv_size, activation="silu")
        self.k_conv1d = ShortConvolution(self.key_dim, kernel_size=conv_size, activation="silu")
        self.v_conv1d = ShortConvolution(self.value_dim, kernel_size=conv_size, activation="silu")
        d = self.value_dim // num_heads
        self.short, self.long = CausalFilter(num_heads, d, fir_short), CausalFilter(num_heads, d, fir_long)
        self.gate = nn.Sequential(
            nn.Linear(hidden_size + 8 * num_heads, hidden_size), nn.GELU(), nn.Linear(hidden_size, 4 * num_heads)
        )
        self.temperature = nn.Parameter(torch.zeros(num_heads, 1))
        if use_gate:
            self.g_proj = nn.Linear(hidden_size, self.value_dim, bias=False)
            self.o_norm = FusedRMSNormGated(d, eps=1e-5)
        else:
            self.o_norm = RMSNorm(d, eps=1e-5)
        self.o_proj = nn.Linear(self.value_dim, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
        **kwargs: Unpack[dict],
    ) -> tuple[torch.Tensor, torch.Tensor | None, Cache | None]:
        if attention_mask is not None and len(attention_mask.shape) != 2:
            raise ValueError("expected a mask of shape [batch, length]")
        batch, length, _ = hidden_states.shape
        last = None
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            last = past_key_values[self.layer_idx]
        if attention_mask is not None and last is None:
            indices, cu_seqlens, _ = get_unpad_data(attention_mask[:, -length:])
            rows = index_first_axis(rearrange(hidden_states, "b s d -> (b s) d"), indices)
            parts = [self._mix(part[None], None, False)[0] for part in rows.split(cu_seqlens.diff().tolist())]
            return pad_input(torch.cat(parts, 1).squeeze(0), indices, batch, length), None, past_key_values
        out, state = self._mix(hidden_states, last, use_cache)
        if past_key_values is not None and use_cache:
            past_key_values.update(**state, layer_idx=self.layer_idx, offset=length)
        return out, None, past_key_values

    def _mix(self, x, last, use_cache):
        convs, firs = ((None,) * 3, (None,) * 2) if last is None else last["conv_state"]
        q, cq = self.q_conv1d(x=self.q_proj(x), cache=convs[0], output_final_state=use_cache)
        k, ck = self.k_conv1d(x=self.k_proj(x), cache=convs[1], output_final_state=use_cache)
        v, cv = self.v_conv1d(x=self.v_proj(x), cache=convs[2], output_final_state=use_cache)
        q, k, v = (rearrange(t, "... (h d) -> ... h d", h=self.num_heads) for t in (q, k, v))
        q, k = l2norm(q), l2norm(k)
        beta = self.b_proj(x).sigmoid() if self.use_beta else torch.ones_like(q[..., 0])
        state = (
            q.new_zeros(len(q), self.num_heads, q.shape[-1], v.shape[-1]) if last is None else last["recurrent_state"]
        )
        delta, state = chunked_delta_rule(
            *(rearrange(t, "b l h d -> b h l d").float() for t in (q, k, v)),
            rearrange(beta, "b l h -> b h l").float(),
            state.float(),
        )
        delta = rearrange(delta, "b h l d -> b l h d").to(v.dtype)
        # AFTER DELTA
        short, fs = self.short(v, firs[0])
        long, fl = self.long(v, firs[1])
        paths = torch.stack((short, long, delta, v), 3)
        stats = torch.cat((paths.mean(-1), paths.abs().mean(-1)), -1)
        logits = self.gate(torch.cat((x, rearrange(stats, "b l h s -> b l (h s)")), -1))
        logits = rearrange(logits, "b l (h p) -> b l h p", p=4) / (F.softplus(self.temperature) + 0.5)
        # BEFORE SOFTMAX
        weights = self.floor + (1 - 4 * self.floor) * logits.softmax(-1)
        mixed = (weights[..., None] * paths).sum(3)
        if self.use_gate:
            gate = rearrange(self.g_proj(x), "b l (h d) -> b l h d", h=self.num_heads)
            mixed = self.o_norm(mixed, gate)
        else:
            mixed = self.o_norm(mixed)
        # AFTER NORM
        out = self.o_proj(rearrange(mixed, "b l h d -> b l (h d)"))
        return out, {"recurrent_state": state, "conv_state": ((cq, ck, cv), (fs, fl))}
