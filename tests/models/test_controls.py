"""The controls against their definitions token by token, and how far back each can see at all."""

from __future__ import annotations

import pytest
import torch

from asiarc.core.candidate import load_mixer
from asiarc.engineer.gates import admit
from asiarc.models.baselines import SHIPPED_NAMES, baseline_source, mixer_size
from asiarc.models.controls import CONTROL_NAMES, MEMORY_FREE
from asiarc.tasks.catalogue import CONTROLS

D, H = 8, 2
REACH = {"local_filter": 7, "bag_of_ngrams": 63 + 3, "window_16_attention": 15 + 3}  # of one layer, in tokens back


def build(name):
    torch.manual_seed(0)
    mixer = load_mixer(baseline_source(name))(D, H).double()
    with torch.no_grad():
        for weight in mixer.parameters():  # away from the constants that some start at
            weight.add_(0.1 * torch.randn_like(weight))
    return mixer


def inputs(tokens, seed=0):
    return torch.randn(1, tokens, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_catalogue_and_models_name_the_same_controls():
    assert CONTROLS == CONTROL_NAMES
    assert set(CONTROL_NAMES) < set(SHIPPED_NAMES)
    assert MEMORY_FREE in CONTROL_NAMES


def filtered(x_TD, taps_DW):
    W = taps_DW.shape[1]
    rows = [
        sum(taps_DW[:, W - 1 - w] * x_TD[t - w] for w in range(min(W, t + 1))) for t in range(len(x_TD))
    ]  # fmt: skip
    return torch.stack(rows)


def gated(m, o_TD, x_TD):
    o_THV = o_TD.unflatten(-1, (H, D // H))
    normed = o_THV / (o_THV.square().mean(-1, keepdim=True) + 1e-6).sqrt() * m.norm_weight_V
    gate = x_TD @ m.gate.weight.T
    return (normed.flatten(-2) * gate * torch.sigmoid(gate)) @ m.out.weight.T


def local_filter(m, x_TD):
    return gated(m, filtered(x_TD @ m.values.weight.T, m.filter_DW), x_TD)


def bag_of_ngrams(m, x_TD):
    raw = filtered(x_TD @ m.values.weight.T, m.filter_DW)
    u_TD = raw * torch.sigmoid(raw)
    bag = torch.stack([u_TD[max(0, t - 63) : t + 1].sum(0) / 64 for t in range(len(x_TD))])
    return gated(m, m.near_D * u_TD + m.bag_D * bag, x_TD)


@pytest.mark.parametrize("define", [local_filter, bag_of_ngrams])
def test_a_control_is_its_definition(define):
    mixer, x = build(define.__name__), inputs(80)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x)[0][0], define(mixer, x[0]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CONTROL_NAMES)
def test_a_control_sees_as_far_as_it_says_and_no_farther(name):
    mixer, x, reach = build(name), inputs(90).requires_grad_(), REACH[name]
    mixer(x)[0][0, -1].sum().backward()
    seen_T = x.grad[0].abs().sum(-1)
    assert seen_T[-1 - reach] > 0
    assert (seen_T[: -1 - reach] == 0).all()


def test_the_bag_forgets_the_order_of_what_is_in_it():
    mixer = build("bag_of_ngrams")
    with torch.no_grad():
        mixer.filter_DW[:, :-1] = 0  # features of single tokens: nothing but the bag knows of another
        x = inputs(40)
        shuffled = torch.cat([x[:, torch.randperm(39)], x[:, 39:]], dim=1)
        torch.testing.assert_close(mixer(x)[0][0, -1], mixer(shuffled)[0][0, -1], rtol=1e-9, atol=1e-9)


def test_the_window_is_the_baseline_with_another_window():
    wide, narrow = baseline_source("sliding_window_attention"), baseline_source("window_16_attention")
    changed = [pair for pair in zip(wide.splitlines(), narrow.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(changed) == 3
    assert all(a.replace("64", "16") == b for a, b in changed)


@pytest.mark.parametrize("name", CONTROL_NAMES)
def test_a_control_has_the_size_that_is_told_and_passes_the_gates(name):
    assert sum(p.numel() for p in build(name).parameters()) == mixer_size(name, D, H)
    verdict = admit(baseline_source(name), d_model=32, num_heads=2, seed=0, max_examples=2, exempt=frozenset())
    assert verdict.admitted, [f for f in verdict.findings if f.verdict == "rejected"]
