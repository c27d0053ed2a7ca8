"""FusionGatedFIRNet: independent sigmoid gates on short filter, long filter, a memory that may fade, and the values.

Each gate is eps + (1 - eps) sigmoid(logit / temperature_h), eps = 0.02, from the token and the mean magnitude of
every path: one path need not lose what another gains. They start at the values (+3) and the memory (+1), away from
the filters (-1 each). Retention is meant to let a head forget.

Source: Liu et al. 2025, arXiv 2507.18074, section 4.2, and the released program (experiment 879, `delta_net_psfr`).
As released (`RETENTION = "chunk"`): lambda_h = 0.6 + 0.4 sigmoid(r_h) multiplies the memory that was carried into a
chunk of 32 tokens, once, when the chunk ends; what the chunk wrote is not faded. It starts at 0.99996, where it
does next to nothing and its gradient is nothing in bfloat16. Chunks are counted from the beginning of the sequence,
so the state holds the position and the memory as the chunk began (there a call starts a new count; here segments
continue it). Repaired ("token"): S_t = alpha_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T with alpha_t =
exp(-softplus(x w + b)), which starts at 0.98 and has a gradient to go by. "none" leaves retention out. Inferred:
nothing but the order of the features.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), C convolved channels, W
taps, P paths, N router inputs.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from asiarc.kernels.delta_rule import delta_rule
from asiarc.kernels.fir import fir
from asiarc.kernels.gated_delta_rule import gated_delta_rule
from asiarc.kernels.l2_norm import l2_norm
from asiarc.kernels.short_convolution import short_convolution

State = dict[str, Tensor]
TAPS = 4
SHORT_TAPS = 3
LONG_TAPS = 63
PATHS = 4
CHUNK = 32
FLOOR = 0.02
RETENTION = "chunk"


def impulse(channels: int, taps: int) -> Tensor:
    """A filter that passes the present token on, plus a little noise: its path starts as the identity."""
    weight_DW = 0.01 * torch.randn(channels, taps)
    weight_DW[:, -1] += 1
    return weight_DW


class Mixer(nn.Module):
    """o = sum_p gate_p path_p with gates of their own, then RMSNorm a head."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        channels = 3 * d_model
        self.qkv = nn.Linear(d_model, channels, bias=False)
        self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.beta = nn.Linear(d_model, num_heads, bias=False)
        if RETENTION == "chunk":
            self.retention_H = nn.Parameter(torch.full((num_heads,), 9.21))
        elif RETENTION == "token":
            self.retention = nn.Linear(d_model, num_heads)
            nn.init.constant_(self.retention.bias, -4.0)
        self.short_DW = nn.Parameter(impulse(d_model, SHORT_TAPS))
        self.long_DW = nn.Parameter(impulse(d_model, LONG_TAPS))
        self.router = nn.Sequential(
            nn.Linear(d_model + PATHS * num_heads, 2 * d_model),
            nn.GELU(),
            nn.Linear(2 * d_model, PATHS * num_heads, bias=False),
        )
        self.router_bias_HP = nn.Parameter(torch.tensor([-1.0, -1.0, 1.0, 3.0]).repeat(num_heads, 1))
        self.log_temperature_H1 = nn.Parameter(torch.zeros(num_heads, 1))
        self.norm = nn.RMSNorm(d_model // num_heads, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def recall(
        self, x_BTD: Tensor, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """The memory read by each token, and the part of the state that is the memory's."""
        beta_BTH = torch.sigmoid(self.beta(x_BTD))
        inputs = (l2_norm(q_BTHK), l2_norm(k_BTHK), v_BTHV)
        memory_BHKV = state.get("memory")
        if RETENTION == "chunk":
            return self.recall_by_chunks((*inputs, beta_BTH), state)
        if RETENTION == "token":
            log_decay_BTH = -softplus(self.retention(x_BTD))
            recalled_BTHV, memory_BHKV = gated_delta_rule(
                *inputs, log_decay_BTH, beta_BTH, scale=1.0, initial_state=memory_BHKV
            )
        else:
            recalled_BTHV, memory_BHKV = delta_rule(*inputs, beta_BTH, scale=1.0, initial_state=memory_BHKV)
        return recalled_BTHV, {"memory": memory_BHKV}

    def recall_by_chunks(self, inputs: tuple[Tensor, ...], state: State) -> tuple[Tensor, State]:
        """The delta rule; at the end of each chunk what the chunk found in the memory is faded once."""
        kept_H11 = (0.6 + 0.4 * torch.sigmoid(self.retention_H))[:, None, None]
        batch, tokens = inputs[0].shape[:2]
        place = int(state["place"][0]) if state else 0
        sizes = [min(CHUNK - place, tokens)]
        sizes += [min(CHUNK, tokens - first) for first in range(sizes[0], tokens, CHUNK)]
        carried: State = {name: state[name] for name in ("memory", "found") if name in state}
        recalled = []
        for piece in zip(*(tensor.split(sizes, dim=1) for tensor in inputs), strict=True):
            recalled_BTHV, memory_BHKV = delta_rule(*piece, scale=1.0, initial_state=carried.get("memory"))
            recalled.append(recalled_BTHV)
            found_BHKV = carried["found"] if carried else torch.zeros_like(memory_BHKV)
            place += recalled_BTHV.shape[1]
            if place == CHUNK:
                memory_BHKV = memory_BHKV - (1 - kept_H11) * found_BHKV
                found_BHKV, place = memory_BHKV, 0
            carried = {"memory": memory_BHKV, "found": found_BHKV}
        place_B = inputs[0].new_full((batch,), place, dtype=torch.long)
        return torch.cat(recalled, dim=1), {**carried, "place": place_B}

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory's (twice and a place in the chunk, by chunks) and the last inputs of the filters."""
        state = state or {}
        qkv_BTC, conv_state = short_convolution(
            self.qkv(x_BTD), self.conv_CW, activation="silu", initial_state=state.get("conv")
        )
        qkv_3BTHK = rearrange(qkv_BTC, "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        recalled_BTHV, memory = self.recall(x_BTD, q_BTHK, k_BTHK, v_BTHV, state)
        values_BTD = rearrange(v_BTHV, "b t h v -> b t (h v)")
        short_BTD, short_state = short_convolution(values_BTD, self.short_DW, initial_state=state.get("short"))
        long_BTD, long_state = fir(values_BTD, self.long_DW, initial_state=state.get("long"))
        short_BTHV, long_BTHV = (
            rearrange(path_BTD, "b t (h v) -> b t h v", h=self.num_heads) for path_BTD in (short_BTD, long_BTD)
        )
        paths_BTHPV = torch.stack((short_BTHV, long_BTHV, recalled_BTHV, v_BTHV), dim=-2)
        seen_BTN = torch.cat((x_BTD, paths_BTHPV.abs().mean(-1).flatten(2)), dim=-1)
        logits_BTHP = rearrange(self.router(seen_BTN), "b t (h p) -> b t h p", h=self.num_heads)
        logits_BTHP = (logits_BTHP + self.router_bias_HP) / self.log_temperature_H1.exp()
        weights_BTHP = FLOOR + (1 - FLOOR) * torch.sigmoid(logits_BTHP)
        o_BTHV = (weights_BTHP[..., None] * paths_BTHPV).sum(dim=-2)
        y_BTD = self.out(rearrange(self.norm(o_BTHV), "b t h v -> b t (h v)"))
        return y_BTD, {"conv": conv_state, "short": short_state, "long": long_state, **memory}
