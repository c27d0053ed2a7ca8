"""The language model around a mixer: one computation however it is run, saved, cached, padded or matched in size.

The independent reference is a forward pass written out below, with no cache, mask or module of the backbone's own.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from asiarc.core.errors import AsiarcError
from asiarc.core.recipe import MICRO, PAPER_20M, SMALL
from asiarc.models.backbone import (
    AsiarcConfig,
    AsiarcForCausalLM,
    MixerCache,
    RMSNorm,
    SizeMismatchError,
    build,
    count_parameters,
    matched_hidden,
    mixer_parameters,
    total_parameters,
)
from asiarc.models.baselines import BASELINE_NAMES, QUADRATIC, baseline_source

LINEAR = [name for name in BASELINE_NAMES if name not in QUADRATIC]
TINY = MICRO.at(d_model=32)
HIDDEN = 24

MIXER = """
import torch
from torch import nn

class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)
        {init}

    def forward(self, x, state=None):
        {forward}
"""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models():
    """Every baseline, its weights moved away from the constants that some start at."""
    made = {}
    for name in BASELINE_NAMES:
        made[name] = model = build(baseline_source(name), TINY, "tests", hidden=HIDDEN).eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return made


def tokens(rows, length, seed=0):
    return torch.randint(1, 256, (rows, length), generator=torch.Generator().manual_seed(seed))


def rms(x, weight):
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight


@torch.no_grad()
def by_hand(model, ids):
    """x + mixer(norm x), x + down(silu(gate norm x) * up norm x), norm, times the embedding."""
    x = model.embed.weight[ids]
    for layer in model.layers:
        x = x + layer.mixer(rms(x, layer.mixer_norm.weight))[0]
        if layer.mlp is not None:
            y = rms(x, layer.mlp_norm.weight)
            gate, up = y @ layer.mlp.gate.weight.T, y @ layer.mlp.up.weight.T
            x = x + (gate * torch.sigmoid(gate) * up) @ layer.mlp.down.weight.T
    return rms(x, model.norm.weight) @ model.embed.weight.T


@torch.no_grad()
def logits(model, ids, **kwargs):
    return model(ids, **kwargs).logits


# --- the forward pass -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_the_forward_pass_by_hand(models, name):
    ids = tokens(2, 11)
    torch.testing.assert_close(logits(models[name], ids), by_hand(models[name], ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden", [0, HIDDEN])
def test_without_an_mlp(hidden):
    model = build(baseline_source("gla"), TINY, "0", hidden=hidden).eval()
    assert (model.layers[0].mlp is None) == (hidden == 0)
    torch.testing.assert_close(logits(model, tokens(2, 5)), by_hand(model, tokens(2, 5)), rtol=1e-4, atol=1e-4)


def test_the_loss_by_hand(models):
    model, ids = models["delta_net"], tokens(3, 9)
    labels = ids.clone()
    labels[:, :4] = -100
    log_p = torch.log_softmax(by_hand(model, ids).double(), dim=-1)
    terms = [-float(log_p[b, t - 1, ids[b, t]]) for b in range(3) for t in range(4, 9)]
    with torch.no_grad():
        loss = model(ids, labels=labels).loss.item()
    assert loss == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("name", LINEAR)
def test_no_logit_sees_the_future(models, name):
    ids = tokens(2, 10)
    other = torch.cat([ids[:, :6], tokens(2, 4, seed=1)], dim=1)
    torch.testing.assert_close(logits(models[name], ids)[:, :6], logits(models[name], other)[:, :6])


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_token_by_token_is_the_whole(models, name):
    model, ids = models[name], tokens(3, 12)
    whole = logits(model, ids)
    cache = MixerCache(len(model.layers))
    steps = [logits(model, ids[:, t : t + 1], past_key_values=cache) for t in range(12)]
    assert cache.get_seq_length() == 12
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), name=st.sampled_from(BASELINE_NAMES))
def test_any_split_is_the_whole(models, data, name):
    model, ids = models[name], tokens(2, 20)
    cuts = sorted(data.draw(st.sets(st.integers(1, 19), max_size=4)))
    cache, parts = MixerCache(len(model.layers)), []
    for start, stop in zip([0, *cuts], [*cuts, 20], strict=True):
        parts.append(logits(model, ids[:, start:stop], past_key_values=cache))
    torch.testing.assert_close(torch.cat(parts, dim=1), logits(model, ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keep", [1, 3])
def test_only_the_last_logits(models, keep):
    whole = logits(models["gla"], tokens(2, 7))
    torch.testing.assert_close(logits(models["gla"], tokens(2, 7), logits_to_keep=keep), whole[:, -keep:])


# --- generation -------------------------------------------------------------------------------------------------------

NEW = 8


def generate(model, ids, **kwargs):
    """Token 0 ends nothing here, so that every row has all its new tokens."""
    return model.generate(
        ids, max_new_tokens=NEW, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, **kwargs
    )


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_greedy_search_with_the_cache_is_the_argmax_of_full_passes(models, name):
    model, ids = models[name], tokens(2, 6)
    out = generate(model, ids, do_sample=False, output_logits=True)
    expected = ids
    for _ in range(NEW):
        expected = torch.cat([expected, by_hand(model, expected)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(out.sequences, expected)
    steps = torch.stack(out.logits, dim=1)
    torch.testing.assert_close(steps, by_hand(model, expected)[:, 5:-1], rtol=1e-3, atol=1e-3)


def test_greedy_search_feeds_one_token_at_a_time(models):
    model, lengths = models["mamba2"], []
    hook = model.layers[0].register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    generate(model, tokens(2, 6), do_sample=False)
    hook.remove()
    assert lengths == [6] + [1] * (NEW - 1)


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_sampling_with_a_seed_draws_from_the_full_pass(models, name):
    model, ids = models[name], tokens(3, 5)
    torch.manual_seed(1)
    out = generate(model, ids, do_sample=True, top_k=0)
    torch.manual_seed(1)
    expected = ids
    for _ in range(NEW):
        p = torch.softmax(by_hand(model, expected)[:, -1].float(), dim=-1)
        expected = torch.cat([expected, torch.multinomial(p, 1)], dim=1)
    assert torch.equal(out.sequences, expected)
    torch.manual_seed(2)
    assert not torch.equal(generate(model, ids, do_sample=True, top_k=0).sequences, expected)


def best_beam(model, ids, beams):
    """Plain beam search over full passes, for one row."""
    kept = [(0.0, ids)]
    for _ in range(NEW):
        grown = []
        for total, sequence in kept:
            log_p = torch.log_softmax(by_hand(model, sequence)[0, -1].double(), dim=-1)
            for value, token in zip(*log_p.topk(2 * beams), strict=True):
                grown.append((total + float(value), torch.cat([sequence, token.view(1, 1)], dim=1)))
        kept = sorted(grown, key=lambda pair: -pair[0])[:beams]
    return kept[0]


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_beam_search_with_the_cache_is_beam_search_over_full_passes(models, name):
    model, ids = models[name], tokens(2, 5)
    out = generate(model, ids, do_sample=False, num_beams=3, length_penalty=0.0, output_scores=True)
    for row in range(2):
        total, sequence = best_beam(model, ids[row : row + 1], 3)
        assert torch.equal(out.sequences[row], sequence[0])
        assert float(out.sequences_scores[row]) == pytest.approx(total, rel=1e-3)


def test_beams_keep_what_a_state_holds_besides_rows():
    """A position, a list, a dictionary and a number, next to tensors with a row a sequence."""
    forward = """seen = 0 if state is None else state["seen"][0]
        total = x.cumsum(1) + (0 if state is None else state["rest"][0][:, None])
        position = torch.arange(seen, seen + x.shape[1], dtype=x.dtype)[:, None] + 1
        count = torch.tensor(seen + x.shape[1])
        return self.proj(total / position), {"seen": (seen + x.shape[1], count), "rest": [total[:, -1]]}"""
    model = build(MIXER.format(init="pass", forward=forward), TINY, "0", hidden=HIDDEN).eval()
    ids = tokens(1, 4)
    out = generate(model, ids, do_sample=False, num_beams=3, length_penalty=0.0)
    assert torch.equal(out.sequences, best_beam(model, ids, 3)[1])


def test_reordering_a_cache():
    cache = MixerCache(2)
    rows = torch.arange(12.0).view(3, 4)
    cache.states = [(rows, {"a": [rows + 1, None], "n": 3}), torch.tensor(7)]
    cache.reorder_cache(torch.tensor([2, 2, 0]))
    (first, second), position = cache.states
    assert torch.equal(first, rows[[2, 2, 0]])
    assert torch.equal(second["a"][0], rows[[2, 2, 0]] + 1)
    assert second["a"][1] is None
    assert (second["n"], int(position)) == (3, 7)


# --- padding ----------------------------------------------------------------------------------------------------------


def padded(rows):
    width = max(len(row) for row in rows)
    ids = torch.stack([F.pad(row, (width - len(row), 0)) for row in rows])
    mask = torch.stack([F.pad(torch.ones_like(row), (width - len(row), 0)) for row in rows])
    return ids, mask


ROWS = [tokens(1, n, seed=n)[0] for n in (9, 4, 1)]


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_left_padding_changes_no_logit(models, name):
    ids, mask = padded(ROWS)
    found = logits(models[name], ids, attention_mask=mask)
    for row, out in zip(ROWS, found, strict=True):
        torch.testing.assert_close(out[-len(row) :], logits(models[name], row[None])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BASELINE_NAMES)
@pytest.mark.parametrize("beams", [1, 3])
def test_left_padding_changes_no_generated_token(models, name, beams):
    ids, mask = padded(ROWS)
    found = generate(models[name], ids, attention_mask=mask, do_sample=False, num_beams=beams).sequences
    for row, out in zip(ROWS, found, strict=True):
        alone = generate(models[name], row[None], do_sample=False, num_beams=beams).sequences[0]
        assert torch.equal(out[-NEW:], alone[-NEW:])


COUNTED = MIXER.format(
    init="pass",
    forward="""past, n = (0, 0) if state is None else (state[0][:, None], state[1])
        total = past + torch.sigmoid(self.proj(x)).cumsum(1)
        count = torch.arange(n + 1, n + 1 + x.shape[1], dtype=x.dtype)[:, None]
        return total / count, (total[:, -1], n + x.shape[1])""",
)


def test_padding_is_kept_from_a_mixer_with_biases_that_counts_its_tokens():
    model = build(COUNTED, TINY, "0", hidden=HIDDEN).eval()
    rows = [*ROWS, tokens(1, 4, seed=7)[0]]
    ids, mask = padded(rows)
    found = logits(model, ids, attention_mask=mask)
    for beams in (1, 3):
        texts = generate(model, ids, attention_mask=mask, do_sample=False, num_beams=beams).sequences
        for row, out, text in zip(rows, found, texts, strict=True):
            torch.testing.assert_close(out[-len(row) :], logits(model, row[None])[0], rtol=1e-4, atol=1e-4)
            alone = generate(model, row[None], do_sample=False, num_beams=beams).sequences[0]
            assert torch.equal(text[-NEW:], alone[-NEW:])


def test_a_state_does_not_go_on_from_padding(models):
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]])
    with pytest.raises(AsiarcError, match="padding_side='left'"):
        models["gla"](tokens(2, 4), attention_mask=mask, use_cache=True)
    assert models["gla"](tokens(2, 4), attention_mask=mask).logits.isfinite().all()


def test_right_padding_changes_nothing_before_it(models):
    ids = tokens(2, 9)
    cut = torch.cat([ids[:, :5], torch.zeros(2, 4, dtype=torch.long)], dim=1)
    for model in models.values():
        torch.testing.assert_close(logits(model, cut)[:, :5], logits(model, ids)[:, :5])


# --- pickling ---------------------------------------------------------------------------------------------------------


def test_a_pickled_model_is_the_same_where_its_source_was_never_loaded(models, tmp_path):
    model, ids = models["gated_delta_net"], tokens(2, 7)
    torch.save(model, tmp_path / "model.pt")
    script = "import sys, torch; torch.set_num_threads(1); m = torch.load(sys.argv[1], weights_only=False); "
    script += (
        "torch.save(m(torch.load(sys.argv[2])).logits.detach(), sys.argv[2]); assert m.lm_head.weight is m.embed.weight"
    )
    torch.save(ids, tmp_path / "ids.pt")
    subprocess.run([sys.executable, "-c", script, *(str(tmp_path / f"{n}.pt") for n in ("model", "ids"))], check=True)
    torch.testing.assert_close(torch.load(tmp_path / "ids.pt"), logits(model, ids))


@pytest.mark.parametrize("training", [True, False])
def test_a_copied_model_learns_by_itself(models, training):
    model = models["gla"].train(training)
    twin = copy.deepcopy(model)
    model.eval()
    assert twin.training is training and twin.lm_head.weight is twin.embed.weight
    assert all(p.requires_grad for p in twin.parameters())
    with torch.no_grad():
        twin.embed.weight.zero_()
    assert model.embed.weight.any()


# --- saving -----------------------------------------------------------------------------------------------------------

LOAD = """
import json, sys, torch
torch.set_num_threads(1)
from transformers.utils import logging
logging.disable_progress_bar()
from asiarc.models.backbone import AsiarcForCausalLM
found = {}
for folder in sys.argv[1:]:
    model = AsiarcForCausalLM.from_pretrained(folder).eval()
    assert model.lm_head.weight is model.embed.weight
    with torch.no_grad():
        found[folder] = model(torch.tensor(json.load(open(f"{folder}/ids.json")))).logits.double().tolist()
print(json.dumps(found))
"""

TABLES = """self.register_buffer("kept", torch.arange(1.0, d_model + 1))
        self.register_buffer("table", torch.linspace(0.1, 1, d_model), persistent=False)
        self.register_buffer("draw", torch.rand(d_model), persistent=False)
        self.plain = torch.arange(d_model) / d_model
        self.number = torch.ones(3).sum().item()"""
WITH_TABLES = MIXER.format(
    init=TABLES, forward="return self.proj(x) * self.kept * self.table * self.draw + self.plain * self.number, state"
)


def test_saved_models_give_equal_logits_in_a_clean_process(models, tmp_path):
    """Bit for bit, also where a mixer computes tables in its constructor that it does not save itself."""
    saved = {str(tmp_path / name): model for name, model in models.items()}
    saved[str(tmp_path / "tables")] = build(WITH_TABLES, TINY, "0", hidden=HIDDEN).eval()
    ids = tokens(2, 7)
    for folder, model in saved.items():
        model.save_pretrained(folder)
        Path(folder, "ids.json").write_text(json.dumps(ids.tolist()))
    done = subprocess.run([sys.executable, "-c", LOAD, *saved], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for folder, found in json.loads(done.stdout).items():
        assert torch.equal(torch.tensor(found), logits(saved[folder], ids).float()), folder


def test_embeddings_are_tied_and_stay_tied():
    model = build(baseline_source("gla"), TINY, "0", hidden=HIDDEN)
    assert model.lm_head.weight is model.embed.weight
    model(tokens(2, 5), labels=tokens(2, 5)).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert torch.equal(model.lm_head.weight, model.embed.weight)
    assert AsiarcConfig().tie_word_embeddings


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINE_NAMES)
@pytest.mark.parametrize("hidden", [0, 1, HIDDEN])
@pytest.mark.parametrize("recipe", [TINY, SMALL.at(d_model=48, vocab_size=300)], ids=lambda p: p.name)
def test_the_formula_counts_the_model(name, hidden, recipe):
    source = baseline_source(name)
    counted = count_parameters(build(source, recipe, "0", hidden=hidden))
    assert total_parameters(mixer_parameters(source, recipe), recipe, hidden) == counted


@pytest.mark.parametrize("name", BASELINE_NAMES)
@pytest.mark.parametrize("reference", ["delta_net", "softmax_attention", "kda"])
@pytest.mark.parametrize("recipe", [MICRO, SMALL, PAPER_20M], ids=lambda p: p.name)
def test_every_baseline_is_brought_within_two_percent(name, reference, recipe):
    wide = round(recipe.mlp_ratio * recipe.d_model)
    target = total_parameters(mixer_parameters(baseline_source(reference), recipe), recipe, wide)
    per_mixer = mixer_parameters(baseline_source(name), recipe)
    hidden = matched_hidden(per_mixer, recipe, target)
    assert abs(total_parameters(per_mixer, recipe, hidden) / target - 1) <= 0.02
    if name == reference:
        assert hidden == wide
    if recipe is MICRO:
        counted = count_parameters(build(baseline_source(name), recipe, "0", hidden=hidden))
        assert abs(counted / target - 1) <= 0.02


@given(per_mixer=st.integers(0, 60_000), target=st.integers(20_000, 200_000), tolerance=st.floats(0, 0.1))
def test_the_width_is_the_nearest_or_refused(per_mixer, target, tolerance):
    """Against a search over all widths."""
    distances = {h: abs(total_parameters(per_mixer, MICRO, h) - target) for h in range(1, 600)}
    nearest = min(distances.values())
    if nearest <= tolerance * target:
        assert distances[matched_hidden(per_mixer, MICRO, target, tolerance=tolerance)] == nearest
    else:
        with pytest.raises(SizeMismatchError, match="make it smaller"):
            matched_hidden(per_mixer, MICRO, target, tolerance=tolerance)


def test_a_huge_mixer_is_refused_with_its_size():
    target = total_parameters(mixer_parameters(baseline_source("delta_net"), MICRO), MICRO, 128)
    source = MIXER.format(init="self.table = nn.Parameter(torch.zeros(300, 300))", forward="return x, state")
    per_mixer = mixer_parameters(source, MICRO)
    assert per_mixer == 300 * 300 + 64 * 64 + 64
    with pytest.raises(SizeMismatchError, match=f"{per_mixer:,}"):
        matched_hidden(per_mixer, MICRO, target)


def test_frozen_parameters_are_not_counted():
    init = "self.frozen = nn.Parameter(torch.zeros(5), requires_grad=False)"
    source = MIXER.format(init=init, forward="return self.proj(x), state")
    assert mixer_parameters(source, TINY) == 32 * 32 + 32


# --- initial weights --------------------------------------------------------------------------------------------------


def weights(source, seed, hidden=HIDDEN):
    return {n: p.detach() for n, p in build(source, TINY, seed, hidden=hidden).named_parameters()}


def shared(named):
    return {name: weight for name, weight in named.items() if ".mixer." not in name}


def test_shared_weights_do_not_depend_on_the_mixer():
    first = shared(weights(baseline_source(BASELINE_NAMES[0]), "0"))
    assert len(first) == 1 + 1 + 2 * 5
    for name in BASELINE_NAMES[1:]:
        other = shared(weights(baseline_source(name), "0"))
        assert first.keys() == other.keys()
        assert all(torch.equal(first[key], other[key]) for key in first), name


def test_the_narrower_mlp_has_the_first_units_of_the_wider():
    """`down` is scaled by its own width, so that the output of the MLP has one variance at any width."""
    narrow, wide = (shared(weights(baseline_source("gla"), "0", hidden)) for hidden in (10, 40))
    for key, weight in narrow.items():
        if key.endswith(("gate.weight", "up.weight")):
            assert torch.equal(weight, wide[key][:10])
        elif key.endswith("down.weight"):
            torch.testing.assert_close(weight * 10**0.5, wide[key][:, :10] * 40**0.5)
        else:
            assert torch.equal(weight, wide[key])


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_mixers_start_alike_whatever_the_width_of_the_mlp(name):
    narrow, wide = (weights(baseline_source(name), "0", hidden) for hidden in (0, 40))
    mixers = [key for key in narrow if ".mixer." in key]
    assert mixers
    assert all(torch.equal(narrow[key], wide[key]) for key in mixers)


def test_seeds_differ_and_repeat():
    source = baseline_source("gated_delta_net")
    first, again, other = (weights(source, seed) for seed in ("0", "0", "1"))
    assert all(torch.equal(first[key], again[key]) for key in first)
    matrices = [key for key in first if first[key].ndim == 2]
    assert not any(torch.equal(first[key], other[key]) for key in matrices)
    drawn = [key for key in matrices if ".mixer." not in key]
    assert len({float(first[key].flatten()[0]) for key in drawn}) == len(drawn)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    weights(baseline_source("gla"), "0")
    mixer_parameters(baseline_source("gla"), TINY)
    assert torch.equal(torch.rand(3), expected)


def test_the_global_generator_does_not_reach_the_weights():
    torch.manual_seed(1)
    first = weights(baseline_source("mamba2"), "0")
    torch.manual_seed(2)
    second = weights(baseline_source("mamba2"), "0")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_model_can_be_made_from_its_configuration():
    config = AsiarcConfig(mixer_source=baseline_source("gla"), hidden_size=32, intermediate_size=HIDDEN)
    model = AsiarcForCausalLM(config)
    assert isinstance(model.get_input_embeddings(), torch.nn.Embedding)
    assert logits(model, tokens(1, 3)).shape == (1, 3, 256)


# --- what a large trial asks for --------------------------------------------------------------------------------------


def small(name, layers=3):
    return build(baseline_source(name), MICRO.at(d_model=16, num_layers=layers), "0", hidden=8)


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_blocks_that_are_computed_again_have_the_same_gradients(name):
    ids_BT = torch.randint(1, 256, (2, 20), generator=torch.Generator().manual_seed(0))
    found = []
    for model in (small(name), small(name)):
        model.is_checkpointed = bool(found)
        model(ids_BT, labels=ids_BT).loss.backward()
        found.append([p.grad for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_checkpointed_blocks_keep_their_inputs_alone():
    """Numbers that the graph holds for the backward pass: of each block as many as a token has channels."""

    def kept(model):
        sizes = {}
        pack = lambda tensor: sizes.setdefault(tensor.untyped_storage().data_ptr(), tensor.numel()) and tensor  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(torch.ones(2, 40, dtype=torch.long), head=lambda hidden_BTD, _: hidden_BTD.sum()).loss
        assert loss.requires_grad
        return sum(sizes.values())

    sizes = {}
    for is_checkpointed in (False, True):
        for layers in (1, 3):
            model = small("gated_delta_net", layers)
            model.is_checkpointed = is_checkpointed
            sizes[is_checkpointed, layers] = kept(model)
    a_block = {way: (sizes[way, 3] - sizes[way, 1]) / 2 for way in (False, True)}
    assert a_block[True] <= 2 * 40 * 16 < a_block[False] / 10


def test_generation_needs_no_block_twice():
    """With a cache, or without gradients, a checkpointed model is the plain one."""
    model = small("delta_net")
    plain = model.generate(torch.ones(1, 3, dtype=torch.long), max_new_tokens=3, do_sample=False)
    model.is_checkpointed = True
    assert torch.equal(plain, model.generate(torch.ones(1, 3, dtype=torch.long), max_new_tokens=3, do_sample=False))


@pytest.mark.parametrize("name", ["delta_net", "linear_attention", "kda"])
def test_under_autocast_norms_are_given_one_dtype(name, monkeypatch):
    """What torch's fused operator asks for. The norms of these mixers read bfloat16, the backbone's do not."""
    dtypes, norm = [], F.rms_norm

    def spy(x, shape, weight, eps):
        dtypes.append((x.dtype, weight.dtype))
        return norm(x, shape, weight, eps)

    monkeypatch.setattr(F, "rms_norm", spy)
    with torch.autocast("cpu", torch.bfloat16):
        small(name, 1)(torch.ones(1, 4, dtype=torch.long))
    assert set(dtypes) == {(dtype, dtype) for dtype in (torch.float32, torch.bfloat16)}


@pytest.mark.parametrize(("norm", "warns"), [(RMSNorm, False), (torch.nn.RMSNorm, True)])
def test_torch_says_nothing_of_falling_off_its_fused_operator(norm, warns):
    """Off the CPU, which has none; on the meta device the way is chosen and nothing is computed."""
    x = torch.empty(2, 8, dtype=torch.bfloat16, device="meta")
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            norm(8, device="meta")(x)
    finally:
        torch.set_warn_always(False)
    assert any("fused implementation" in str(warning.message) for warning in said) == warns


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch has no fused norm for a CPU")
def test_a_gpu_norms_in_one_operator():
    norm, x = RMSNorm(64).cuda(), torch.randn(2, 64, dtype=torch.bfloat16, device="cuda")
    with torch.profiler.profile() as profile, torch.autocast("cuda", torch.bfloat16):
        norm(x)
    assert "aten::_fused_rms_norm" in {event.key for event in profile.key_averages()}


@given(st.integers(0, 99), st.sampled_from([None, 1e-6]))
def test_in_one_dtype_the_norm_is_torch_s_to_the_bit(seed, eps):
    mine, theirs = RMSNorm(6, eps=eps), torch.nn.RMSNorm(6, eps=eps)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(mine(x), theirs(x))
    assert mine.state_dict().keys() == theirs.state_dict().keys()
