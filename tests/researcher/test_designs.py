"""Named designs: baselines are found again as genomes, and the headline mixers compute what they claim."""

from __future__ import annotations

import pytest
import torch

from asiarc.core.candidate import content_address, load_mixer
from asiarc.core.errors import CandidateError
from asiarc.models.baselines import BASELINE_NAMES, QUADRATIC, baseline_source
from asiarc.researcher.designs import BASELINES, DESIGNS, HEADLINES, baseline_genomes, design
from asiarc.researcher.render import render

D, H = 32, 2
K = D // H


def inputs(tokens=19):
    return torch.randn(2, tokens, D, dtype=torch.float64, generator=torch.Generator().manual_seed(tokens))


def shaken(source):
    """A mixer in float64 whose parameters are away from the constants that some start at."""
    torch.manual_seed(0)
    mixer = load_mixer(source)(D, H).double()
    with torch.no_grad():
        for weight in mixer.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return mixer


def test_every_linear_baseline_has_a_genome():
    assert set(BASELINES) == set(BASELINE_NAMES) - QUADRATIC | {"gated_delta_product"}


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_baseline_is_the_code_of_its_genome(name):
    assert content_address(render(BASELINES[name])) == content_address(baseline_source(name))
    assert baseline_genomes()[content_address(baseline_source(name))] == BASELINES[name]


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_genome_computes_what_the_baseline_computes(name):
    baseline, rendered = shaken(baseline_source(name)), shaken(render(BASELINES[name]))
    with torch.no_grad():
        for weight in rendered.parameters():
            weight.zero_()
    rendered.load_state_dict(baseline.state_dict())
    assert torch.equal(rendered(inputs())[0], baseline(inputs())[0])


def test_designs_differ_from_one_another():
    assert len({content_address(render(genome)) for genome in DESIGNS.values()}) == len(DESIGNS) == 13


def test_an_unknown_design_is_answered_with_the_nearest():
    assert design("kda") is BASELINES["kda"]
    with pytest.raises(CandidateError, match="Did you mean 'hier_gate_net'"):
        design("hiergatenet")


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def softmax(x):
    return torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)


def silu(x):
    return x * sigmoid(x)


def filtered(x_BTC, weight_CW):
    """y_t = sum_w weight_{W-1-w} x_{t-w}, one token and tap at a time."""
    y = torch.zeros_like(x_BTC)
    for t in range(x_BTC.shape[1]):
        for w in range(min(weight_CW.shape[1], t + 1)):
            y[:, t] += weight_CW[:, -1 - w] * x_BTC[:, t - w]
    return y


def paths_of(m, x):
    """The paths of the paper's skeleton, token by token: delta rule (gated where m gates), FIRs, values."""
    parts = silu(filtered(x @ m.qkv.weight.T, m.conv_CW)).split((D, D, D), dim=-1)
    q, k, v = (part.unflatten(-1, (H, K)) for part in parts)
    q, k = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (q, k))
    beta = sigmoid(x @ m.beta.weight.T)
    decay = torch.ones_like(beta)
    if hasattr(m, "step"):
        step = torch.log1p(torch.exp(x @ m.step.weight.T + m.step_bias_H))
        decay = torch.exp(-torch.exp(m.log_rate_H) * step)
    S, recalled = torch.zeros(x.shape[0], H, K, K, dtype=x.dtype), []
    for t in range(x.shape[1]):
        S = decay[:, t, :, None, None] * S
        old = torch.einsum("bhk,bhkv->bhv", k[:, t], S)
        S = S + torch.einsum("bh,bhk,bhv->bhkv", beta[:, t], k[:, t], v[:, t] - old)
        recalled.append(torch.einsum("bhk,bhkv->bhv", q[:, t], S))
    short, long = (filtered(v.flatten(2), weight).unflatten(-1, (H, K)) for weight in (m.short_DW, m.long_DW))
    return {"memory": torch.stack(recalled, dim=1), "short": short, "long": long, "value": v}


def logits_of(m, x, paths, order, measures):
    measured = [torch.stack([measure(paths[p]) for p in order], dim=-1).flatten(2) for measure in measures]
    seen = torch.cat([x, *measured], dim=-1)
    if hasattr(m.router, "weight"):
        raw = seen @ m.router.weight.T
    else:
        raw = silu(seen @ m.router[0].weight.T) @ m.router[2].weight.T
    return (raw.unflatten(-1, (H, len(order))) + m.router_bias_HP) / torch.exp(m.log_temperature_H1)


def mean(path):
    return path.mean(-1)


def deviation(path):
    return ((path - path.mean(-1, keepdim=True)).square().mean(-1) + 1e-6).sqrt()


def magnitude(path):
    return path.abs().mean(-1)


def energy(path):
    return (path.square().sum(-1) + 1e-6).sqrt()


USUAL = ("memory", "short", "long", "value")
COPY_FIRST = ("value", "memory", "short", "long")


def two_stages(logits):
    first = sigmoid(logits[..., :1])
    return torch.cat((first, (1 - first) * softmax(logits[..., 1:])), dim=-1)


def content_sharp_router(m, x, paths):
    return softmax(logits_of(m, x, paths, USUAL, (mean, deviation))), USUAL


def fusion_gated_fir_net(m, x, paths):
    return 0.02 + 0.98 * sigmoid(logits_of(m, x, paths, USUAL, (magnitude,))), USUAL


def hier_gate_net(m, x, paths):
    floor = 0.1 * sigmoid(m.floor_HP)
    return floor + (1 - floor.sum(-1, keepdim=True)) * two_stages(logits_of(m, x, paths, USUAL, ())), USUAL


def ada_multi_path_gate_net(m, x, paths):
    return 0.02 + (1 - 0.08) * softmax(logits_of(m, x, paths, USUAL, ())), USUAL


def path_gate_fusion_net(m, x, paths):
    measures = (mean, deviation, magnitude, energy)
    return 0.02 + (1 - 0.08) * two_stages(logits_of(m, x, paths, COPY_FIRST, measures)), COPY_FIRST


ROUTERS = {
    "content_sharp_router": content_sharp_router,
    "fusion_gated_fir_net": fusion_gated_fir_net,
    "hier_gate_net": hier_gate_net,
    "ada_multi_path_gate_net": ada_multi_path_gate_net,
    "path_gate_fusion_net": path_gate_fusion_net,
}


@pytest.mark.parametrize("name", sorted(HEADLINES))
def test_a_headline_design_equals_its_formulas(name):
    """The digest of the paper's text, written out with loops over tokens, taps and paths."""
    mixer, x = shaken(render(HEADLINES[name])), inputs(70)
    with torch.no_grad():
        paths = paths_of(mixer, x)
        weights, order = ROUTERS[name](mixer, x, paths)
        fused = sum(weights[..., i, None] * paths[p] for i, p in enumerate(order))
        if hasattr(mixer, "residual"):
            gate = sigmoid(mixer.residual_scale_H) * sigmoid(x @ mixer.residual.weight.T + mixer.residual_bias_H)
            fused = fused + gate[..., None] * paths["short"]
        o = fused / (fused.square().mean(-1, keepdim=True) + 1e-6).sqrt() * mixer.norm.weight
        if hasattr(mixer, "gate"):
            o = o * 2 * sigmoid(x @ mixer.gate.weight.T)[..., None]
        torch.testing.assert_close(mixer(x)[0], o.flatten(2) @ mixer.out.weight.T, rtol=1e-6, atol=1e-8)


def test_no_router_slot_is_unused():
    """The released ContentSharpRouter computes 4 H logits a head and uses 4; here each moves the output."""
    mixer, x = shaken(render(HEADLINES["content_sharp_router"])), inputs()
    with torch.no_grad():
        before, _ = mixer(x)
        for slot in range(4):
            mixer.router_bias_HP[:, slot] += 1
            assert (mixer(x)[0] - before).abs().max() > 1e-3
            mixer.router_bias_HP[:, slot] -= 1


def test_the_head_gate_is_not_cancelled_by_the_norm():
    """Before the norm a positive scale a head has no effect; the rebuilt PathGateFusionNet gates after it."""
    mixer, x = shaken(render(HEADLINES["path_gate_fusion_net"])), inputs()
    with torch.no_grad():
        before, _ = mixer(x)
        mixer.gate.weight.mul_(3)
        assert (mixer(x)[0] - before).abs().max() > 0.1


def test_every_path_starts_alive():
    """At the start, taking any one path away changes the output: no design begins with a dead path."""
    for name, genome in HEADLINES.items():
        torch.manual_seed(0)
        mixer, x = load_mixer(render(genome))(D, H).double(), inputs()
        with torch.no_grad():
            before, _ = mixer(x)
            for parameter in (mixer.short_DW, mixer.long_DW):
                kept = parameter.clone()
                parameter.zero_()
                assert (mixer(x)[0] - before).abs().max() > 1e-3, name
                parameter.copy_(kept)
