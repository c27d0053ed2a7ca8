"""RWKV-7: a generalised delta rule that erases under one key, by a rate a channel, and writes under another.

S_t = (diag(w_t) - (a_t * kappa_t) kappa_t^T) S_{t-1} + k_t v_t^T: kappa_t, of length one, says where the memory
is read and taken from, a_t how much of each channel, w_t how fast each channel fades, k_t where v_t goes. That
the key that erases need not be the key that writes lets the memory swap what it holds.

Source: Peng et al. 2025, arXiv 2503.14456, sec. 4 (time mixing: token shift, low-rank decay w = exp(-e^-0.5
sigmoid(.)), in-context rate a and output gate, removal key kappa, replacement key k (1 + (a - 1) c), bonus of
the current token, GroupNorm a head); the inits follow the authors'.
Differs from the paper: the first layer's values are not mixed into later layers, for a mixer sees its own layer
alone; the low ranks are K / 2, K / 2 and K, not those for wide models; the inits that depend on a layer's depth
are those of the middle.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), R == 2 T rows.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pad

from asiarc.kernels.dplr import dplr
from asiarc.kernels.l2_norm import l2_norm

State = dict[str, Tensor]
FASTEST = -math.exp(-0.5)  # a channel keeps at least e^-0.607 of itself a token
EXPONENTS = (0.1, 0.35, 0.35, 0.45, 0.45, 0.1)  # of how much the past token counts in r, k, v, w, a and g


def low_rank(d_model: int, rank: int, between: nn.Module, bias_D: Tensor | None = None) -> nn.Sequential:
    """x -> f(x A) B (+ c), c starting at `bias_D`."""
    last = nn.Linear(rank, d_model, bias=bias_D is not None)
    if bias_D is not None:
        with torch.no_grad():
            last.bias.copy_(bias_D)
    return nn.Sequential(nn.Linear(d_model, rank, bias=False), between, last)


class Mixer(nn.Module):
    """S_t = (diag(w_t) - (a_t * kappa_t) kappa_t^T) S_{t-1} + k_t v_t^T, normed a head, with a bonus, gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        place_D = torch.arange(d_model) / d_model
        self.mix_6D = nn.Parameter(torch.stack([1 - place_D**exponent for exponent in EXPONENTS]))
        self.r = nn.Linear(d_model, d_model, bias=False)
        self.k = nn.Linear(d_model, d_model, bias=False)
        self.v = nn.Linear(d_model, d_model, bias=False)
        rank = max(1, head_dim // 2)
        self.decay = low_rank(d_model, rank, nn.Tanh(), -5.5 + 6 * place_D**1.8)
        self.rate = low_rank(d_model, rank, nn.Identity(), torch.full((d_model,), -0.19))
        self.gate = low_rank(d_model, head_dim, nn.Sigmoid())
        self.removal_D = nn.Parameter(torch.full((d_model,), 0.71))
        self.replacement_D = nn.Parameter(torch.full((d_model,), 1.02))
        self.bonus_HK = nn.Parameter(torch.full((num_heads, head_dim), -0.04))
        self.norm_weight_D = nn.Parameter(torch.ones(d_model))
        self.norm_bias_D = nn.Parameter(torch.zeros(d_model))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def heads(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, H, K]."""
        return rearrange(x_BTD, "b t (h k) -> b t h k", h=self.num_heads)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V] and the last token [B, D]."""
        state = state or {}
        before_BTD = pad(x_BTD, (0, 0, 1, 0))[:, :-1]
        if state:
            before_BTD = torch.cat((state["token"][:, None], x_BTD[:, :-1]), dim=1)
        x_r, x_k, x_v, x_w, x_a, x_g = (x_BTD + (before_BTD - x_BTD) * mix_D for mix_D in self.mix_6D)
        r_BTHK, v_BTHV = self.heads(self.r(x_r)), self.heads(self.v(x_v))
        k_BTD = self.k(x_k)
        rate_BTD = torch.sigmoid(self.rate(x_a))
        log_decay_BTHK = self.heads(FASTEST * torch.sigmoid(self.decay(x_w)))
        removal_BTHK = l2_norm(self.heads(k_BTD * self.removal_D))
        k_BTHK = self.heads(k_BTD * (1 + (rate_BTD - 1) * self.replacement_D)).type_as(v_BTHV)
        o_BTHV, memory_BHKV = self.mixed(
            r_BTHK, k_BTHK, v_BTHV, log_decay_BTHK, removal_BTHK, self.heads(rate_BTD), state.get("memory")
        )
        eps = 1e-5 * o_BTHV.shape[-1]
        o_BTD = rearrange(layer_norm(o_BTHV, o_BTHV.shape[-1:], eps=eps), "b t h v -> b t (h v)")
        o_BTD = o_BTD * self.norm_weight_D + self.norm_bias_D
        bonus_BTHV = (r_BTHK * k_BTHK * self.bonus_HK).sum(-1, keepdim=True) * v_BTHV
        y_BTD = self.out((o_BTD + rearrange(bonus_BTHV, "b t h v -> b t (h v)")) * self.gate(x_g))
        return y_BTD, {"memory": memory_BHKV, "token": x_BTD[:, -1]}

    def mixed(
        self,
        r_BTHK: Tensor,
        k_BTHK: Tensor,
        v_BTHV: Tensor,
        log_decay_BTHK: Tensor,
        removal_BTHK: Tensor,
        rate_BTHK: Tensor,
        memory_BHKV: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Two rows a token: one erases and writes nothing, one writes and erases nothing.

        What is erased is read before the decay, hence the decay is taken out of its key.
        """

        def rows(erasing_BTHK: Tensor, writing_BTHK: Tensor) -> Tensor:
            both = torch.stack((erasing_BTHK.type_as(writing_BTHK), writing_BTHK), dim=2)
            return rearrange(both, "b t n h k -> b (t n) h k")

        return dplr(
            r_BTHK,
            rows(rate_BTHK * removal_BTHK, k_BTHK),
            rows(torch.zeros_like(v_BTHV), v_BTHV),
            log_decay_BTHK,
            rows(removal_BTHK * torch.exp(-log_decay_BTHK), torch.zeros_like(k_BTHK)),
            scale=1.0,
            initial_state=memory_BHKV,
        )
