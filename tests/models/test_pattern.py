"""What fills the blocks: how a pattern is read, and a model of several mixers by hand, in pieces and in numbers."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.candidate import content_address
from asiarc.core.errors import CandidateError
from asiarc.core.pattern import Slot, mixers_of, named_by, pattern_of, pattern_text, shortest, slot_of
from asiarc.core.recipe import MICRO, SMALL
from asiarc.models.backbone import (
    AsiarcForCausalLM,
    MixerCache,
    SizeMismatchError,
    build,
    count_parameters,
    matched_hidden,
    mixer_parameters,
)
from asiarc.models.baselines import baseline_source
from asiarc.models.memory import Passes, peak_bytes
from asiarc.models.sizes import fits, nearest_hidden, total_parameters

LAYERS = ("candidate", "mlp@2", "candidate@0", "softmax_attention@0.5", "sliding_window_attention")
SOURCE = baseline_source("gated_delta_net")
BESIDE = {name: baseline_source(name) for name in ("softmax_attention", "sliding_window_attention", "linear_attention")}
HYBRID = MICRO.at(d_model=16, layers=LAYERS)
SLOTS = st.sampled_from(["candidate", "candidate@0", "softmax_attention", "linear_attention@0.3", "mlp", "mlp@3"])
PATTERNS = st.lists(SLOTS, min_size=1, max_size=5).map(tuple)


@pytest.fixture(scope="module")
def model():
    made = build(SOURCE, HYBRID, "tests", hidden=20, mixers=BESIDE).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return made


IDS = torch.randint(1, 256, (2, 19), generator=torch.Generator().manual_seed(1))


# --- how it is written ------------------------------------------------------------------------------------------------


def test_a_slot_is_read():
    assert slot_of("candidate") == Slot("candidate", 1.0) and slot_of("mlp") == Slot("", 1.0)
    assert slot_of("mixers/own.py@0") == Slot("mixers/own.py", 0.0) and slot_of("mlp@2.5").hidden(10) == 25
    assert Slot("x", 0.01).hidden(10) == 1, "no MLP vanishes by rounding"
    assert Slot("x", 0).hidden(10) == Slot("x").hidden(0) == 0


@pytest.mark.parametrize(
    "slot", ["", "@2", "mlp@0", "candidate@", "candidate@two", "candidate@-1", "mlp@17", "mlp@nan"]
)
def test_a_slot_that_cannot_be_read(slot):
    with pytest.raises(CandidateError, match="slot"):
        slot_of(slot)


@given(PATTERNS, st.integers(1, 4))
def test_a_pattern_has_one_shortest_text(layers, times):
    short = shortest(layers * times)
    assert short == shortest(layers) and layers == short * (len(layers) // len(short))
    text = pattern_text(layers, 'a "title" \\ """')
    assert pattern_of(text) == layers and content_address(text) == content_address(pattern_text(layers))
    assert "candidate" not in mixers_of(layers) and len(set(mixers_of(layers))) == len(mixers_of(layers))
    assert named_by(named_by(layers, {"mlp": "x"}), {"x": "mlp"}) == layers


@pytest.mark.parametrize(
    "source",
    [
        "",
        "layers = ()",
        "layers = (1,)",
        "layers = ('a',)\nimport os",
        "layers = f('a')",
        "x = ('a',)",
        "layers = (",
        SOURCE,
    ],
)
def test_what_is_no_pattern(source):
    assert pattern_of(source) is None


def test_a_recipe_without_a_pattern_has_none_in_its_data():
    assert "layers" not in MICRO.as_dict() and MICRO.blocks == (Slot(), Slot())
    assert type(MICRO)(**HYBRID.as_dict() | {"layers": list(LAYERS)}) == HYBRID, "as JSON gives it back"
    assert HYBRID.num_layers == 5 and SMALL.at(layers=("candidate", "mlp")).num_layers == 4
    assert MICRO.filled_by(pattern_text(("gla",))).layers == ("gla",) and MICRO.filled_by(SOURCE) is MICRO


# --- what it computes -------------------------------------------------------------------------------------------------


@torch.no_grad()
def by_hand(model, ids):
    def rms(x, norm):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * norm.weight

    x = model.embed.weight[ids]
    for layer in model.layers:
        if layer.mixer is not None:
            x = x + layer.mixer(rms(x, layer.mixer_norm))[0]
        if layer.mlp is not None:
            x = x + layer.mlp(rms(x, layer.mlp_norm))
    return rms(x, model.norm) @ model.embed.weight.T


def test_the_forward_pass_by_hand(model):
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, by_hand(model, IDS), rtol=1e-4, atol=1e-4)
    kinds = [[type(layer.mixer).__module__, layer.mlp and len(layer.mlp.gate.weight)] for layer in model.layers]
    assert [width for _, width in kinds] == [20, 40, None, 10, 20]
    assert model.layers[1].mixer is None and kinds[0][0] == kinds[2][0] != kinds[3][0] and len(model.mixers) == 4


@pytest.mark.parametrize("lengths", [[1] * 19, [7, 1, 11], [18, 1]])
def test_every_block_hands_its_state_over(model, lengths):
    cache = MixerCache(len(model.layers))
    with torch.no_grad():
        parts = [model(part, past_key_values=cache).logits for part in IDS.split(lengths, 1)]
        torch.testing.assert_close(torch.cat(parts, 1), model(IDS).logits, rtol=1e-3, atol=1e-4)
    assert cache.states[1] is None, "a block without a mixer has no state"


@pytest.mark.parametrize("beams", [1, 2])
def test_generation_with_the_cache_is_generation_without(model, beams):
    asked = dict(max_new_tokens=6, do_sample=False, num_beams=beams, attention_mask=torch.ones_like(IDS))
    assert torch.equal(model.generate(IDS, **asked), model.generate(IDS, use_cache=False, **asked))


def test_saved_and_loaded(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = AsiarcForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_shared_weights_stay_shared(model):
    """A hybrid begins with the MLPs and embeddings of the pure stack; the narrower have the first units."""
    pure = build(SOURCE, MICRO.at(d_model=16, num_layers=5), "tests", hidden=20)
    mixed = build(SOURCE, HYBRID, "tests", hidden=20, mixers=BESIDE)
    assert torch.equal(pure.embed.weight, mixed.embed.weight)
    for index in (0, 3, 4):
        few, many = mixed.layers[index].mlp.gate.weight, pure.layers[index].mlp.gate.weight
        assert torch.equal(few, many[: len(few)])


def test_a_pattern_of_the_candidate_alone_is_none_at_all():
    plain, said = (build(SOURCE, MICRO.at(d_model=16, layers=layers), "0", hidden=8) for layers in ((), ("candidate",)))
    for (name, one), other in zip(plain.named_parameters(), said.parameters(), strict=True):
        assert torch.equal(one, other), name


# --- how large it is --------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(PATTERNS, st.sampled_from([0, 1, 7, 24]))
def test_the_formula_counts_every_model(layers, hidden):
    recipe = MICRO.at(d_model=16, layers=layers)
    mixing = mixer_parameters(SOURCE, recipe, BESIDE)
    counted = count_parameters(build(SOURCE, recipe, "0", hidden=hidden, mixers=BESIDE))
    assert total_parameters(mixing, recipe, hidden) == counted


@given(PATTERNS, st.integers(0, 60_000), st.integers(20_000, 200_000))
def test_the_width_is_the_nearest_or_refused(layers, mixing, target):
    """Against a search over all widths; units are rounded block by block, so nearly the nearest is near enough."""
    recipe = MICRO.at(layers=layers)
    rounding = 3 * recipe.d_model * len(recipe.blocks)
    best = min(abs(total_parameters(mixing, recipe, h) - target) for h in range(1, 900))
    found = abs(total_parameters(mixing, recipe, nearest_hidden(mixing, recipe, target)) - target)
    assert best <= found <= best + rounding
    if fits(mixing, recipe, target):
        assert abs(total_parameters(mixing, recipe, matched_hidden(mixing, recipe, target)) - target) <= 0.02 * target
    else:
        with pytest.raises(SizeMismatchError, match=f"{mixing:,}"):
            matched_hidden(mixing, recipe, target)


def test_a_hybrids_step_takes_between_its_pure_stacks():
    """The estimate of memory adds up blocks: what a pattern takes is the mean of its blocks' pure stacks."""
    recipe, passes = SMALL.at(num_layers=4), Passes(8)
    names = ("softmax_attention", "delta_net", "delta_net", "mamba2")
    pure = {name: peak_bytes(recipe, 10**6, passes, name) for name in names}
    mixed = peak_bytes(recipe.at(layers=("candidate", *names[1:])), 10**6, passes, names[0])
    mean = sum(pure[name] * times for name, times in Counter(names).items()) / len(names)
    assert min(pure.values()) < mixed < max(pure.values()) and mixed == pytest.approx(mean, rel=0.1)
    bare = peak_bytes(recipe.at(layers=("mlp",)), 10**6, passes)
    assert bare < min(pure.values())
