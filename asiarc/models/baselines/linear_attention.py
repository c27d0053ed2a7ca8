"""Linear attention: softmax attention without the softmax, so that the past fits in one matrix a head.

With a positive feature map phi the attention of token t is q_t S_t, S_t = S_{t-1} + phi(k_t) v_t^T: constant
memory, linear time. Nothing is ever forgotten, which is the weakness that every later memory update answers.

Source: Katharopoulos et al. 2020, arXiv 2006.16236, eqs. 7-10, 16-20, phi(x) = elu(x) + 1.
Differs from the paper: the normaliser 1 / phi(q) . sum phi(k) is a positive factor a head and token, which
the RMSNorm a head that follows cancels (up to its epsilon); it is left out, as in TransNormer (Qin et al.
2022, arXiv 2210.10340, sec. 4.2).

Axes: B batch, T time, D width, H heads, K key and V value width of a head (K == V == D / H).
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import elu

from asiarc.kernels.linear_attention import linear_attention

State = dict[str, Tensor]


class Mixer(nn.Module):
    """S_t = S_{t-1} + phi(k_t) v_t^T, read by phi(q_t)."""

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.norm = nn.RMSNorm(head_dim, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state is the memory [B, H, K, V]."""
        state = state or {}
        qkv_3BTHK = rearrange(self.qkv(x_BTD), "b t (n h k) -> n b t h k", n=3, h=self.num_heads)
        q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()
        q_BTHK, k_BTHK = elu(q_BTHK) + 1, elu(k_BTHK) + 1
        o_BTHV, memory_BHKV = linear_attention(q_BTHK, k_BTHK, v_BTHV, initial_state=state.get("memory"))
        o_BTHV = self.norm(o_BTHV)
        y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))
        return y_BTD, {"memory": memory_BHKV}
