"""FLA's own operators, packed sequences, and the recurrent form for short inputs."""

from einops import rearrange
from fla.layers.utils import get_unpad_data, index_first_axis, pad_input
from fla.modules import RMSNorm, ShortConvolution
from fla.ops.delta_rule import chunk_delta_rule, fused_recurrent_delta_rule
from torch import nn


class DeltaNet(nn.Module):
    def __init__(self, mode, hidden_size, expand_k, expand_v, num_heads, *, layer_idx, norm_eps=1e-5):
        super().__init__()
        assert mode in ("chunk", "fused_recurrent")
        self.mode, self.num_heads, self.layer_idx = mode, num_heads, layer_idx
        width = int(hidden_size * expand_v)
        self.qkv = nn.Linear(hidden_size, 2 * int(hidden_size * expand_k) + width)
        self.sizes = (int(hidden_size * expand_k),) * 2 + (width,)
        self.conv = ShortConvolution(sum(self.sizes), 4, bias=True, activation="silu", use_fast_conv1d=False)
        self.beta = nn.Linear(hidden_size, num_heads)
        self.norm, self.out = RMSNorm(width // num_heads, eps=norm_eps), nn.Linear(width, hidden_size)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
        **kwargs,
    ):
        batch, q_len, _ = hidden_states.shape
        mode = "fused_recurrent" if q_len <= 64 else self.mode
        last_state = None
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            last_state = past_key_values[self.layer_idx]
        cu_seqlens = kwargs.get("cu_seqlens")
        if attention_mask is not None:
            indices, cu_seqlens, _ = get_unpad_data(attention_mask[:, -q_len:])
            hidden_states = index_first_axis(rearrange(hidden_states, "b s ... -> (b s) ..."), indices).unsqueeze(0)
        mixed, conv_state = self.conv(
            self.qkv(hidden_states),
            cache=None if last_state is None else last_state["conv_state"],
            output_final_state=use_cache,
            cu_seqlens=cu_seqlens,
        )
        q, k, v = (rearrange(t, "b t (h d) -> b t h d", h=self.num_heads) for t in mixed.split(self.sizes, -1))
        operator = chunk_delta_rule if mode == "chunk" else fused_recurrent_delta_rule
        o, state = operator(
            q=q,
            k=k,
            v=v,
            beta=self.beta(hidden_states).sigmoid(),
            initial_state=None if last_state is None else last_state["recurrent_state"],
            output_final_state=use_cache,
            cu_seqlens=cu_seqlens,
            use_qk_l2norm_in_kernel=True,
        )
        if past_key_values is not None:
            past_key_values.update(recurrent_state=state, conv_state=conv_state, layer_idx=self.layer_idx, offset=q_len)
        o = self.out(rearrange(self.norm(o), "b t h d -> b t (h d)"))
        if attention_mask is not None:
            o = pad_input(o.squeeze(0), indices, batch, q_len)
        return o, None, past_key_values
