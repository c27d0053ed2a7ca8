"""The headline designs against their formulas, in float64, on the modules' own weights, path by path.

The references below share no code with the candidate files or the kernels; the recurrence is that of `test_baselines`.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
import torch
from torch.nn.functional import gelu

from asiarc.core.candidate import content_address, load_mixer, motivation
from asiarc.core.errors import CandidateError
from asiarc.engineer.gates import admit
from reproductions.headline import HEADLINE_NAMES, REPAIRS, headline_forms, headline_source

from ..models.test_baselines import convolve, heads, inputs, recall, rms, silu, unit

D, H = 32, 2
K = D // H
FORMS = headline_forms()
TOKENS = 75  # two chunks of the retention and a part of a third


def build(source):
    torch.manual_seed(0)
    mixer = load_mixer(source)(D, H).double()
    with torch.no_grad():
        for weight in mixer.parameters():  # away from the constants that some start at
            weight.add_(0.1 * torch.randn_like(weight))
    return mixer


def filtered(x_BTD, weight_DK):
    """y_t = sum_j weight_{K-1-j} x_{t-j}, a tap at a time."""
    y = torch.zeros_like(x_BTD)
    for j in range(min(weight_DK.shape[1], x_BTD.shape[1])):
        y[:, j:] += weight_DK[:, -1 - j] * x_BTD[:, : x_BTD.shape[1] - j]
    return y


def skeleton(m, x):
    """(q, k, v, beta, short, long): what all five share (section 5.1 of the descriptions)."""
    q, k, v = convolve(x @ m.qkv.weight.T, m.conv_CW).chunk(3, dim=-1)
    short, long = filtered(v, m.short_DW), filtered(v, m.long_DW)
    beta = torch.sigmoid(x @ m.beta.weight.T)
    return unit(heads(q)), unit(heads(k)), heads(v), beta, heads(short), heads(long)


def projected(m, o):
    return o.flatten(2) @ m.out.weight.T


def linear(layer, x):
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


def deviation(path):
    centred = path - path.mean(-1, keepdim=True)
    return (centred.square().sum(-1) / (path.shape[-1] - 1) + 1e-6).sqrt()


def softmax(x):
    e = x.exp()
    return e / e.sum(-1, keepdim=True)


def softplus(x):
    return torch.log1p(x.exp())


def content_sharp_router(m, x, slots):
    q, k, v, beta, short, long = skeleton(m, x)
    paths = [short, long, recall(q, k, v, beta=beta), v]
    h = silu(linear(m.hidden, x))
    out = []
    for head in range(H):
        mine = [path[:, :, head] for path in paths]
        seen = torch.cat([h, *(p.mean(-1, keepdim=True) for p in mine), *(deviation(p)[..., None] for p in mine)], -1)
        p = softmax(linear(m.router, seen) * (softplus(m.sharpness_H1[head]) + 1e-4))
        assert p.shape[-1] == slots
        out.append(sum(p[..., i : i + 1] * mine[i] for i in range(4)))
    return projected(m, rms(torch.stack(out, 2), m.norm.weight))


def fade_by_chunks(q, k, v, beta, kept_H):
    """S is what the chunk found plus what it wrote; at the end of 32 tokens the found part is multiplied by lambda."""
    o = torch.zeros_like(v)
    for b in range(v.shape[0]):
        for h in range(H):
            found, written = torch.zeros(K, K, dtype=v.dtype), torch.zeros(K, K, dtype=v.dtype)
            for t in range(v.shape[1]):
                key, value = k[b, t, h], v[b, t, h]
                written = written + beta[b, t, h] * torch.outer(key, value - key @ (found + written))
                o[b, t, h] = q[b, t, h] @ (found + written)
                if t % 32 == 31:
                    found, written = kept_H[h] * found + written, torch.zeros_like(written)
    return o


def fusion_gated_fir_net(m, x, recalled):
    q, k, v, beta, short, long = skeleton(m, x)
    paths = [short, long, recalled(m, x, q, k, v, beta), v]
    magnitude = torch.stack([path.abs().mean(-1) for path in paths], -1).flatten(2)
    logits = linear(m.router[2], gelu(linear(m.router[0], torch.cat((x, magnitude), -1)))).unflatten(-1, (H, 4))
    gates = 0.02 + 0.98 / (1 + torch.exp(-(logits + m.router_bias_HP) / m.log_temperature_H1.exp()))
    return projected(m, rms(sum(gates[..., i : i + 1] * path for i, path in enumerate(paths)), m.norm.weight))


def by_chunk(m, x, q, k, v, beta):
    return fade_by_chunks(q, k, v, beta, 0.6 + 0.4 * torch.sigmoid(m.retention_H))


def by_token(m, x, q, k, v, beta):
    return recall(q, k, v, decay=torch.exp(-softplus(linear(m.retention, x))), beta=beta)


def statistics(paths):
    return torch.cat(
        [
            torch.stack([p.mean(-1) for p in paths], -1),
            torch.stack([deviation(p) for p in paths], -1),
            torch.stack([p.abs().mean(-1) for p in paths], -1),
            torch.stack([(p.square().sum(-1) + 1e-6).sqrt() for p in paths], -1),
        ],
        -1,
    ).flatten(2)


def path_gate_fusion_net(m, x, gate_after_norm):
    q, k, v, beta, short, long = skeleton(m, x)
    context = [short, long, recall(q, k, v, beta=beta)]
    seen = torch.cat((x, statistics([v, *context])), -1)
    copied = 0.98 * torch.sigmoid(linear(m.copy[2], gelu(linear(m.copy[0], seen))))[..., None]
    logits = linear(m.context[2], gelu(linear(m.context[0], torch.cat((x, statistics(context)), -1))))
    w = softmax(logits.unflatten(-1, (H, 3)) / (softplus(m.temperature_H1) + 0.05))
    o = copied * v + (1 - copied) * sum(w[..., i : i + 1] * path for i, path in enumerate(context))
    residual = torch.sigmoid(m.residual_scale_H) * torch.sigmoid(linear(m.residual, x))
    o = o + residual[..., None] * short
    gate = 4 * torch.sigmoid(linear(m.gate, seen))[..., None]
    return projected(m, gate * rms(o, m.norm.weight) if gate_after_norm else rms(gate * o, m.norm.weight))


def hier_gate_net(m, x):
    q, k, v, beta, short, long = skeleton(m, x)
    local, memory = [v, short, long], recall(q, k, v, beta=beta)
    logits = linear(m.router, x).unflatten(-1, (H, 4)) + m.router_bias_HP
    g = torch.sigmoid(logits[..., 3])
    w = softmax(logits[..., :3] / m.log_temperature_H1.exp())
    eps = 0.1 * torch.sigmoid(linear(m.floor, x).unflatten(-1, (H, 4)) + m.floor_bias_HP)
    left = 1 - eps.sum(-1)
    o = (eps[..., 3] + left * g)[..., None] * memory
    for i, path in enumerate(local):
        o = o + (eps[..., i] + left * (1 - g) * w[..., i])[..., None] * path
    return projected(m, rms(o, m.norm.weight))


def ada_multi_path_gate_net(m, x):
    q, k, v, beta, short, long = skeleton(m, x)
    logits = linear(m.router, x).unflatten(-1, (H, 4)) + m.global_bias_P + m.head_bias_HP
    p = 0.92 * softmax(logits / (softplus(m.temperature_H1) + 0.5)) + 0.02
    paths = [short, long, recall(q, k, v, beta=beta), v]
    return projected(m, rms(sum(p[..., i : i + 1] * path for i, path in enumerate(paths)), m.norm.weight))


REFERENCES = {
    "path_gate_fusion_net": lambda m, x: path_gate_fusion_net(m, x, gate_after_norm=False),
    "path_gate_fusion_net_repaired": lambda m, x: path_gate_fusion_net(m, x, gate_after_norm=True),
    "content_sharp_router": lambda m, x: content_sharp_router(m, x, slots=4 * H),
    "content_sharp_router_repaired": lambda m, x: content_sharp_router(m, x, slots=4),
    "fusion_gated_fir_net": lambda m, x: fusion_gated_fir_net(m, x, by_chunk),
    "fusion_gated_fir_net_repaired": lambda m, x: fusion_gated_fir_net(m, x, by_token),
    "hier_gate_net": hier_gate_net,
    "ada_multi_path_gate_net": ada_multi_path_gate_net,
    "ada_multi_path_gate_net_repaired": ada_multi_path_gate_net,
}


def test_every_design_has_its_forms():
    assert set(FORMS) == set(REFERENCES) == {*HEADLINE_NAMES, *(f"{name}_repaired" for name in REPAIRS)}
    assert len({content_address(source) for source in FORMS.values()}) == len(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_computes_its_formula(name):
    mixer, x = build(FORMS[name]), inputs(TOKENS)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x)[0], REFERENCES[name](mixer, x), rtol=1e-7, atol=1e-9)


@cache
def admission_of(form):
    return admit(FORMS[form], d_model=64, num_heads=2, seed=0, max_examples=1)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_passes_every_gate(name):
    admission = admission_of(name)
    assert admission.first_rejection is None, admission.first_rejection


@pytest.mark.parametrize(
    ("name", "gate", "part"),
    [("path_gate_fusion_net", "inert_parts", "gate"), ("fusion_gated_fir_net", "dtype_ladder", "retention_H")],
)
def test_the_gates_warn_of_what_is_inert_in_the_original_and_not_of_the_repair(name, gate, part):
    """The head gate that the norm cancels, and the retention that bfloat16 rounds to one."""
    for form, warned in ((name, True), (f"{name}_repaired", False)):
        (finding,) = (f for f in admission_of(form).findings if f.gate == gate)
        assert (finding.verdict == "warned" and part in finding.reason) is warned, (form, finding)


def test_spare_slots_take_from_every_path_alike_so_that_the_norm_cancels_them():
    mixer, x = build(FORMS["content_sharp_router"]), inputs(20)
    with torch.no_grad():
        before, _ = mixer(x)
        mixer.router.bias[4:] += 0.5
        after, _ = mixer(x)
        mixer.router.bias[0] += 0.5
        used, _ = mixer(x)
    spare, seen = ((y - before).norm() / before.norm() for y in (after, used))
    assert spare < 0.02 and seen > 5 * spare, "what is left of the spare slots is the norm's epsilon"


@pytest.mark.parametrize("weight", [0.02, -0.5])
def test_the_entropy_term_has_the_gradient_of_a_loss_that_holds_it(weight):
    """Against autograd on loss - ENTROPY x mean entropy, with the gates computed once more from the weights."""
    x, target = inputs(20), inputs(21)[:, :20]
    plain = build(FORMS["ada_multi_path_gate_net"])
    logits = linear(plain.router, x).unflatten(-1, (H, 4)) + plain.global_bias_P + plain.head_bias_HP
    p = 0.92 * softmax(logits / (softplus(plain.temperature_H1) + 0.5)) + 0.02
    entropy = -(p * p.log()).sum(-1).mean()
    ((plain(x)[0] - target).square().mean() - weight * entropy).backward()
    rewarded = build(headline_source("ada_multi_path_gate_net", ENTROPY=weight))
    (rewarded(x)[0] - target).square().mean().backward()
    for (name, expected), (_, found) in zip(plain.named_parameters(), rewarded.named_parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-7, atol=1e-10, msg=name)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(CandidateError, match="Did you mean 'hier_gate_net'"):
        headline_source("hiergatenet")
    with pytest.raises(CandidateError, match="Did you mean 'ENTROPY'"):
        headline_source("ada_multi_path_gate_net", ENTROPIE=1)


@pytest.mark.parametrize("name", HEADLINE_NAMES)
def test_a_docstring_says_where_the_design_is_from_and_what_was_inferred(name):
    text = motivation(FORMS[name])
    assert "arXiv 2507.18074" in text and "Inferred:" in text and "experiment" in text


def test_reading_a_design_imports_no_torch():
    code = "import sys; from reproductions.headline import headline_forms as f; f(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
