"""The stand-ins compute what the helpers of flash-linear-attention are documented to compute."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from torch.nn.functional import normalize, silu

from asiarc.audit import helpers


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_norms_by_their_formulas():
    x, gate = drawn(2, 3, 8), drawn(2, 3, 8)
    rms = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    centred = x - x.mean(-1, keepdim=True)
    layer = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(helpers.RMSNorm(8)(x), rms)
    torch.testing.assert_close(helpers.LayerNorm(8)(x), layer)
    torch.testing.assert_close(helpers.FusedRMSNormGated(8)(x, gate), rms * silu(gate))
    gated = helpers.FusedLayerNormGated(8, activation="sigmoid")(x, gate)
    torch.testing.assert_close(gated, layer * gate.sigmoid())
    summed, residual = helpers.RMSNorm(8)(x - gate, gate, prenorm=True)
    torch.testing.assert_close((summed, residual), (rms, x))


def test_a_norm_keeps_the_type_it_was_given():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        assert helpers.RMSNorm(8)(drawn(2, 8).to(dtype)).dtype == dtype


def stepwise(q, k, v, beta, g):
    """S_t = exp(g_t) S_{t-1} (I - beta k k^T) + beta k v^T, read by q / sqrt(K), one head and token at a time."""
    B, T, H, K = q.shape
    out = torch.empty_like(v)
    state = v.new_zeros(B, H, K, v.shape[-1])
    for b in range(B):
        for h in range(H):
            S = state[b, h]
            for t in range(T):
                S = g[b, t, h].exp() * S
                S = S + beta[b, t, h] * torch.outer(k[b, t, h], v[b, t, h] - S.T @ k[b, t, h])
                out[b, t, h] = S.T @ q[b, t, h] / K**0.5
            state[b, h] = S
    return out, state


@pytest.mark.parametrize("form", ["chunk", "fused_recurrent"])
@pytest.mark.parametrize("head_first", [False, True])
def test_operators_behind_flas_signatures(form, head_first):
    q, k, v, beta = drawn(2, 9, 2, 4), drawn(2, 9, 2, 4).flip(1), drawn(2, 9, 2, 3), drawn(2, 9, 2).sigmoid()
    g = -drawn(2, 9, 2).square()
    unit_q, unit_k = normalize(q, dim=-1, eps=0), normalize(k, dim=-1, eps=0)
    flip = (lambda x: x.transpose(1, 2)) if head_first else (lambda x: x)
    options = {"output_final_state": True, "use_qk_l2norm_in_kernel": True, "head_first": head_first}
    with helpers.installed():
        ops = importlib.import_module("fla.ops")
        delta = getattr(importlib.import_module("fla.ops.delta_rule"), f"{form}_delta_rule")
        gated = getattr(ops, f"{form}_gated_delta_rule")
    for operator, gates in ((delta, (beta,)), (gated, (g, beta))):
        o, state = operator(*map(flip, (q, k, v, *gates)), **options)
        expected = stepwise(unit_q, unit_k, v, beta, g if len(gates) == 2 else torch.zeros_like(g))
        torch.testing.assert_close((flip(o), state), expected, atol=1e-5, rtol=1e-5)


def test_a_convolution_takes_its_mask_in_either_place():
    conv = helpers.ShortConvolution(4, 3)
    x, mask = torch.randn(1, 5, 4), torch.tensor([[1, 1, 0, 1, 1]])
    torch.testing.assert_close(conv(x, mask)[0], conv(x, mask=mask)[0])
    assert not torch.equal(conv(x, mask)[0], conv(x)[0])


def test_the_cache_replaces_states_and_appends_attention():
    cache = helpers.Cache()
    assert len(cache) == 0 and cache.get_seq_length() == 0
    keys = torch.arange(6.0).view(1, 6, 1)
    for part in keys.split(2, 1):
        cache.update(
            recurrent_state=part, attn_state=(part, part), layer_idx=0, offset=2, cache_kwargs={"window_size": 3}
        )
    assert cache.get_seq_length() == cache.seen_tokens == 6
    assert torch.equal(cache[0]["recurrent_state"], keys[:, 4:])
    assert torch.equal(cache[0]["attn_state"][0], keys[:, 3:])


IMPORTS = (
    ("from fla.modules import l2norm", "l2norm"),
    ("from fla.modules import l2norm", "l2norm.l2norm"),
    ("from fla.modules.l2norm import l2norm", "l2norm"),
    ("import fla.modules.l2norm as module", "module.l2norm"),
)


@pytest.mark.parametrize(("statement", "name"), IMPORTS)
def test_every_way_to_import_a_helper(statement, name):
    found = {}
    with helpers.installed():
        exec(statement, found)
        x = drawn(3, 4)
        torch.testing.assert_close(eval(name, found)(x), normalize(x, dim=-1), atol=1e-5, rtol=1e-5)


def test_what_was_there_before_is_there_again():
    before = ({name for name in sys.modules if name.split(".")[0] == "fla"}, torch.compile, torch.jit.script)
    with helpers.installed():
        exec("import fla.ops.gla\nfrom fla.layers.utils import pad_input", {})
        assert torch.compile(before) is not None
    assert before == ({name for name in sys.modules if name.split(".")[0] == "fla"}, torch.compile, torch.jit.script)
