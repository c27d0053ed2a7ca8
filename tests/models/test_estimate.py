"""The estimate of a step's memory against the storages that a step makes, and the passes that it chooses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.recipe import MEDIUM, MICRO, PAPER_20M, PAPER_340M, SMALL
from asiarc.models.baselines import BASELINE_NAMES
from asiarc.models.memory import ACTIVATIONS, UNKNOWN, Passes, passes_of, peak_bytes, tensor_bytes
from tests.rigs.memory import SHORT, kept, tracked

RECIPES = {
    "micro": MICRO.at(batch_size=4, seq_len=64, **SHORT),
    "many words": PAPER_20M.at(d_model=32, num_layers=1, num_heads=2, seq_len=64, batch_size=3, micro_batch=1, **SHORT),
}


@pytest.mark.parametrize(("recipe", "mixer"), [("micro", "mamba2"), ("micro", "delta_net"), ("many words", "kda")])
def test_a_step_takes_what_is_estimated_within_15_percent(recipe, mixer):
    took, parameters, passes = tracked(RECIPES[recipe], mixer)
    assert tensor_bytes(RECIPES[recipe], parameters, passes, mixer) == pytest.approx(took, rel=0.15)


@pytest.mark.parametrize("mixer", BASELINE_NAMES)
def test_each_baseline_keeps_what_the_table_says(mixer):
    recipe = MICRO.at(d_model=64, num_heads=2)
    assert ACTIVATIONS[mixer].kept(recipe) == pytest.approx(kept(mixer, 64, 2)[0], rel=0.1)


def test_no_baseline_is_hungrier_than_a_mixer_that_nobody_measured():
    for recipe in (MICRO, SMALL, MEDIUM, PAPER_20M, PAPER_340M):
        assert max(known.kept(recipe) for known in ACTIVATIONS.values()) == UNKNOWN.kept(recipe)


@settings(max_examples=30)
@given(
    st.sampled_from([MICRO, SMALL, MEDIUM, PAPER_20M, PAPER_340M]), st.integers(10**6, 10**9), st.integers(1, 64),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_more_rows_and_larger_models_take_more(recipe, parameters, rows, is_chunked, is_checkpointed):
    one = Passes(rows, is_chunked, is_checkpointed)
    took = peak_bytes(recipe.at(batch_size=256), parameters, one)
    more = Passes(2 * rows, is_chunked, is_checkpointed)
    assert took <= peak_bytes(recipe.at(batch_size=256), parameters, more)
    assert took < peak_bytes(recipe.at(batch_size=256), 2 * parameters, one)
    assert took >= 16 * parameters


@settings(max_examples=30)
@given(st.sampled_from([SMALL, PAPER_20M, PAPER_340M]), st.integers(30, 38).map(lambda n: 2**n))
def test_passes_are_the_most_rows_that_fit(recipe, memory_bytes):
    found = passes_of(recipe, 10**7, memory_bytes)
    fits = peak_bytes(recipe, 10**7, found) <= memory_bytes
    assert fits or (found.micro_batch, found.is_checkpointed) == (1, True)
    if fits and found.micro_batch < recipe.batch_size:
        more = Passes(found.micro_batch + 1, found.is_chunked, found.is_checkpointed)
        assert peak_bytes(recipe, 10**7, more) > memory_bytes


@pytest.mark.parametrize("recipe", [MICRO, SMALL, MEDIUM], ids=lambda recipe: recipe.name)
def test_what_a_cpu_trains_goes_in_one_pass_as_it_did(recipe):
    assert passes_of(recipe, 10**7, 8 * 2**30) == Passes(recipe.batch_size)
