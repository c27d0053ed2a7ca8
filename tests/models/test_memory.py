"""In how many passes a batch is taken: what fits whole is taken whole, what does not is taken in as few as fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.recipe import (
    MEDIUM,
    MICRO,
    ON_GPU,
    PAPER_20M,
    PAPER_340M,
    SMALL,
    STAGES,
    TIERS,
    TRIAL_MEMORY_BYTES,
    stage_plan,
)
from asiarc.models.memory import Passes, passes_of, peak_bytes

GIB = 2**30


@pytest.mark.parametrize("recipe", [MICRO, SMALL, MEDIUM])
def test_what_is_trained_on_a_cpu_is_trained_as_it_was(recipe):
    assert passes_of(recipe, 10**7, TRIAL_MEMORY_BYTES) == Passes(recipe.batch_size)


def test_every_tier_of_a_cpu_is_taken_whole():
    for tier in set(TIERS) - set(ON_GPU):
        for stage in STAGES:
            recipe = stage_plan(tier, stage).text
            assert passes_of(recipe, 10**7, TRIAL_MEMORY_BYTES) == Passes(recipe.batch_size)


@pytest.mark.parametrize(("recipe", "parameters"), [(PAPER_20M, 21 * 10**6), (PAPER_340M, 370 * 10**6)])
def test_the_papers_sizes_fit_where_they_did_not(recipe, parameters):
    whole = peak_bytes(recipe, parameters, Passes(recipe.batch_size))
    assert whole > 300 * GIB, "the logits alone, three times"
    passes = passes_of(recipe, parameters, TRIAL_MEMORY_BYTES)
    assert passes.is_chunked and 1 <= passes.micro_batch < recipe.batch_size
    assert peak_bytes(recipe, parameters, passes) <= TRIAL_MEMORY_BYTES


@given(
    memory=st.integers(1, 40 * GIB),
    more=st.integers(0, 40 * GIB),
    rows=st.none() | st.integers(1, 300),
    said=st.none() | st.integers(1, 300),
    recipe=st.sampled_from([MICRO, PAPER_20M, PAPER_340M]),
)
def test_as_many_rows_as_fit_or_as_are_said(memory, more, rows, said, recipe):
    recipe = recipe.at(micro_batch=said)
    most = rows or recipe.batch_size
    passes = passes_of(recipe, 10**7, memory, rows)
    fits = peak_bytes(recipe, 10**7, passes) <= memory
    if said:
        assert passes.micro_batch == min(said, most)
    else:
        assert 1 <= passes.micro_batch <= most
        assert fits or passes == Passes(1, passes.is_chunked, is_checkpointed=True)
        one_more = Passes(passes.micro_batch + 1, passes.is_chunked, passes.is_checkpointed)
        assert passes.micro_batch == most or peak_bytes(recipe, 10**7, one_more) > memory
    roomier = passes_of(recipe, 10**7, memory + more, rows)
    assert roomier.is_checkpointed <= passes.is_checkpointed
    assert roomier.is_chunked == passes.is_chunked, "a matter of the recipe, not of the machine"
