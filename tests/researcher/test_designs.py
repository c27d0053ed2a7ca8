"""Named designs: baselines are found again as genomes, and the headline mixers compute what they claim."""

from __future__ import annotations

import pytest
import torch

from asiarc.core.candidate import content_address, load_mixer
from asiarc.core.errors import CandidateError
from asiarc.core.genome import Genome
from asiarc.engineer.gates.static import Static
from asiarc.engineer.gates.subject import Subject
from asiarc.models.baselines import BASELINE_NAMES, PANEL_NAMES, QUADRATIC, baseline_source
from asiarc.researcher.designs import (
    ALIKE,
    BASELINES,
    DESIGNS,
    DIFFERS,
    HEADLINES,
    KIN,
    LEFT_OUT,
    PANEL_DESIGNS,
    PARTS,
    baseline_genomes,
    design,
    other_layouts,
    variants,
)
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


def test_every_mixer_of_the_panel_is_written_or_left_out_with_a_reason():
    assert PANEL_DESIGNS.keys() | LEFT_OUT.keys() == set(PANEL_NAMES) and set(LEFT_OUT) == QUADRATIC
    assert DIFFERS.keys() == KIN.keys() and len(PANEL_DESIGNS) == len(BASELINES) + len(ALIKE) + len(KIN)


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


def of_mamba3(weights):
    """Its steps, rates, shares and angles are projected at once."""
    parts = weights.pop("steps.weight").split((H, H, H, K // 4))
    names = ("step", "rate", "trapezoid", "turn")
    return weights | {f"{name}.weight": part for name, part in zip(names, parts, strict=True)}


def of_hgrn2(weights):
    return weights | {"qkv.weight": weights.pop("qfv.weight"), "bound_HK": weights.pop("bound_D").view(H, K)}


def of_mlstm(weights):
    return weights | {"conv_CW": weights.pop("conv_DW")}


CARRIED = {"mamba3": of_mamba3, "hgrn2": of_hgrn2, "mlstm": of_mlstm}


@pytest.mark.parametrize("name", sorted(ALIKE))
def test_a_genome_that_is_laid_out_otherwise_computes_what_the_file_computes(name):
    """With the file's weights, whole and continued; beyond a window and beyond two blocks of levels."""
    baseline, rendered, x = shaken(baseline_source(name)), shaken(render(ALIKE[name])), inputs(150)
    rendered.load_state_dict(CARRIED.get(name, dict)(dict(baseline.state_dict())))
    with torch.no_grad():
        expected, _ = baseline(x)
        torch.testing.assert_close(rendered(x)[0], expected, rtol=1e-8, atol=1e-10)
        start, state = rendered(x[:, :67])
        pieces = torch.cat((start, rendered(x[:, 67:], state)[0]), dim=1)
        torch.testing.assert_close(pieces, expected, rtol=1e-8, atol=1e-10)
    assert baseline_genomes()[content_address(baseline_source(name))] == ALIKE[name]
    assert other_layouts()[content_address(render(ALIKE[name]))] == content_address(baseline_source(name))


def test_the_memory_of_rwkv7_is_that_of_its_file(monkeypatch):
    """With what `DIFFERS` names made alike: no shift, no bonus, a gate of one, and an RMSNorm a head in both."""
    baseline, x = shaken(baseline_source("rwkv7")), inputs(40)
    rendered = shaken(render(Genome(**KIN["rwkv7"].model_dump() | {"output_gate": "none"})))
    given = baseline.forward.__func__.__globals__
    monkeypatch.setitem(given, "layer_norm", lambda o, shape, eps: torch.nn.functional.rms_norm(o, shape, eps=1e-6))
    with torch.no_grad():
        for weight, value in ((baseline.mix_6D, 0), (baseline.bonus_HK, 0), (baseline.norm_bias_D, 0)):
            weight.fill_(value)
        baseline.norm_weight_D.fill_(1)
        baseline.gate[0].weight.fill_(0)
        baseline.gate[2].weight.fill_(2 / K)  # half of each of K channels, twice their mean: one
        own = dict(baseline.state_dict())
        shared = {name: own[name] for name in own if name.split(".")[0] in ("decay", "rate", "out")}
        by_head = {f"{name}_HK": own[f"{name}_D"].view(H, K) for name in ("removal", "replacement")}
        projections = {"qkv.weight": torch.cat([own[f"{name}.weight"] for name in "rkv"])}
        plain = {"mix_D": torch.zeros(D), "norm.weight": torch.ones(K)}
        rendered.load_state_dict(shared | by_head | projections | plain)
        torch.testing.assert_close(rendered(x)[0], baseline(x)[0], rtol=1e-7, atol=1e-9)


ADDRESSES = {
    "linear_attention": "e55762a1a802bdc3",
    "retnet": "5a71d45dc431c920",
    "gla": "1e6bf3eca5b6e753",
    "mamba2": "0074a2c2564a4e3a",
    "delta_net": "3b0f40be678b491e",
    "gated_delta_net": "0f3cc0c898024080",
    "kda": "e6733b1619a72121",
    "gated_delta_product": "c48ad0d8b63f8949",
    "path_gate_fusion_net": "5f807f15cf4fad11",
    "content_sharp_router": "267d06f76111cbc8",
    "fusion_gated_fir_net": "73c25301961e009b",
    "hier_gate_net": "99cd119a81e98d19",
    "ada_multi_path_gate_net": "6d20cf48dc62aa54",
}


def test_published_designs_keep_their_addresses():
    """Results are kept under them: a choice that is added has a default that changes nothing."""
    assert {name: content_address(render(DESIGNS[name])) for name in ADDRESSES} == ADDRESSES


def test_designs_differ_from_one_another():
    assert len({content_address(render(genome)) for genome in DESIGNS.values()}) == len(DESIGNS) == 23


@pytest.mark.parametrize("name", sorted(PANEL_DESIGNS))
def test_every_mixer_of_the_panel_has_its_variants(name):
    """With and without gate, skip and convolution, its own form first; each is a source that may be loaded."""
    found = variants(name)
    assert next(iter(found.items())) == (name, PANEL_DESIGNS[name]) and len(found) == 2 ** len(PARTS)
    for field in ("output_gate", "residual", "convolution"):
        has = [getattr(genome, field) not in ("none", 0) for genome in found.values()]
        assert sum(has) == 4, field
    for label, genome in found.items():
        assert Static().check(Subject(render(genome), 64, 2, seed=0)) is None, label


def test_all_variants_differ():
    every = [genome for name in PANEL_DESIGNS for genome in variants(name).values()]
    assert len({content_address(render(genome)) for genome in every}) == len(every) == 144
    names = [label for name in PANEL_DESIGNS for label in variants(name)]
    assert "delta_net+gate+skip-convolution" in names and "mamba2-gate-skip-convolution" in names
    assert len(set(names)) == 144


def test_what_the_grammar_cannot_write_has_no_variants():
    with pytest.raises(CandidateError, match="softmax_attention"):
        variants("softmax_attention")


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
