"""mLSTM: a matrix memory whose input gate is exponential, read relative to how much was written.

C_t = f_t C_{t-1} + i_t k_t v_t^T and n_t = f_t n_{t-1} + i_t k_t with i_t = exp(.), f_t = sigmoid(.);
h_t = C_t^T q_t / max(|n_t . q_t|, 1). One token may outweigh all before it, which a gate in (0, 1) cannot; the
normaliser n keeps what is read at the size of the values.

Source: Beck et al. 2024, xLSTM, arXiv 2405.04517, eq. 19 to 27, stabilised as in eq. 15 and appendix A (m_t is the
largest log-weight so far; memory and normaliser are held divided by exp(m_t), and what is read does not depend on m);
convolution of 4 with SiLU before queries and keys, norm a head, learned skip and output gate as in its fig. 10, gates'
biases as in its code.
Differs from the paper: no expansion and full projections of queries, keys and values, as the MLP is a part of the
model here (so xLSTM 7B, arXiv 2503.13427); the group norm is an RMSNorm a head.

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H), E a value and a one
(V + 1), W taps.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

from asiarc.kernels.short_convolution import short_convolution
from asiarc.kernels.simple_gla import simple_gla

State = dict[str, Tensor]
TAPS = 4


def peaks(log_input_BTH: Tensor, log_forget_BTH: Tensor, start_BH: Tensor) -> Tensor:
    """m_t = max(log f_t + m_{t-1}, log i_t) from m_0 on, [B, T + 1, H]."""
    forgotten_BTH = log_forget_BTH.cumsum(1)
    levels_BTH = torch.cat((start_BH[:, None], log_input_BTH - forgotten_BTH), dim=1).cummax(1).values
    return levels_BTH + pad(forgotten_BTH, (0, 0, 1, 0))


def mlstm(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_input_BTH: Tensor, log_forget_BTH: Tensor, state: State
) -> tuple[Tensor, State]:
    """h_t as above, [B, T, H, V], with k / sqrt(K) as key; log-gates in float64, of which sums are taken."""
    start_BH = state.get("peak", torch.zeros_like(log_input_BTH[:, 0]))
    # What is read is the same for every m, so that no gradient goes through it.
    peak_BSH = peaks(log_input_BTH, log_forget_BTH, start_BH).detach()
    decay_BTH = log_forget_BTH + peak_BSH[:, :-1] - peak_BSH[:, 1:]
    decay_BTH = decay_BTH - decay_BTH.detach().clamp(min=0)  # rounding above 0, taken off without cutting the gradient
    written_BTH1 = torch.exp(log_input_BTH - peak_BSH[:, 1:]).to(k_BTHK.dtype)[..., None]
    v_BTHE = pad(v_BTHV, (0, 1), value=1.0)  # the normaliser is the memory of ones
    read_BTHE, memory_BHKE = simple_gla(
        q_BTHK, written_BTH1 * k_BTHK, v_BTHE, decay_BTH.to(v_BTHV.dtype), initial_state=state.get("memory")
    )
    least_BTH1 = torch.exp(-peak_BSH[:, 1:]).to(v_BTHV.dtype)[..., None]
    h_BTHV = read_BTHE[..., :-1] / torch.maximum(read_BTHE[..., -1:].abs(), least_BTH1)
    return h_BTHV, {"memory": memory_BHKE, "peak": peak_BSH[:, -1]}


class Mixer(nn.Module):
    """The mLSTM cell on convolved queries and keys, normed a head, with a skip, sigmoid-gated."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.conv_DW = nn.Parameter(torch.empty(d_model, TAPS).uniform_(-(TAPS**-0.5), TAPS**-0.5))
        self.qk = nn.Linear(d_model, 2 * d_model, bias=False)
        self.v = nn.Linear(d_model, d_model, bias=False)
        self.gates = nn.Linear(d_model, 2 * num_heads, bias=False)
        self.input_bias_H = nn.Parameter(0.1 * torch.randn(num_heads))
        self.forget_bias_H = nn.Parameter(torch.linspace(3, 6, num_heads))
        self.norm = nn.RMSNorm(d_model // num_heads, eps=1e-6)
        self.skip_D = nn.Parameter(torch.ones(d_model))
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state: C and n side by side [B, H, K, V + 1], m [B, H], the convolution's inputs [B, D, W - 1]."""
        state = state or {}
        local_BTD, conv_state = short_convolution(
            x_BTD, self.conv_DW, activation="silu", initial_state=state.get("conv")
        )
        q_BTHK, k_BTHK = rearrange(self.qk(local_BTD), "b t (n h k) -> n b t h k", n=2, h=self.num_heads).unbind()
        v_BTHV = rearrange(self.v(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)
        input_BTH, forget_BTH = self.gates(x_BTD).double().chunk(2, dim=-1)
        h_BTHV, memories = mlstm(
            q_BTHK, k_BTHK, v_BTHV, input_BTH + self.input_bias_H, logsigmoid(forget_BTH + self.forget_bias_H), state
        )
        h_BTD = rearrange(self.norm(h_BTHV), "b t h v -> b t (h v)") + self.skip_D * local_BTD
        y_BTD = self.out(h_BTD * torch.sigmoid(self.gate(x_BTD)))
        return y_BTD, {"conv": conv_state} | memories
