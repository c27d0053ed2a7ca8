"""Genomes: canonical, typed, and one to one with the sources that they render to."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from asiarc.core.candidate import content_address
from asiarc.core.genome import COSTLY, LATER, TRAITS, UNIT_KEYS, Genome, domain, earlier_domain, random_genome
from asiarc.researcher.grammar import ORGANS
from asiarc.researcher.mechanisms import choice_of, difference, mechanism_names, phrase, tag_of, with_choice
from asiarc.researcher.render import render

genomes = st.integers(0, 2**32).map(lambda seed: random_genome(random.Random(seed)))
choices = st.fixed_dictionaries({field: st.sampled_from(values) for field, values in domain().items()})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(choices)
def test_canonical_form_is_a_fixed_point(choice):
    genome = Genome(**choice)
    assert Genome(**genome.model_dump()) == genome
    assert Genome.model_validate_json(genome.model_dump_json()) == genome
    assert Genome(**genome.choices()) == genome


@settings(max_examples=6, deadline=None, derandomize=True)
@given(genomes)
def test_every_choice_of_a_canonical_genome_reaches_the_source(genome):
    """Distinct genomes never render the same code: no choice is decoration."""
    address = content_address(render(genome))
    for field, values in domain().items():
        for value in values:
            child = Genome(**genome.model_dump() | {field: value})
            assert (child == genome) == (content_address(render(child)) == address), (field, value)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(genomes, st.text(max_size=300), st.text(max_size=80))
def test_words_never_change_the_code(genome, motivation, title):
    assert content_address(render(genome, title, motivation)) == content_address(render(genome))


@pytest.mark.parametrize("text", ['end """ here', "a \\ backslash \\n", '"quoted"', 'ends with a quote"', "\\"])
def test_a_hostile_motivation_stays_text(text):
    source = render(Genome(), title=text, motivation=text)
    assert content_address(source) == content_address(render(Genome()))


def test_unknown_fields_and_values_are_refused():
    with pytest.raises(ValidationError, match="memroy"):
        Genome(memroy="delta")
    with pytest.raises(ValidationError, match="gated_delta"):
        Genome(memory="gated")


def test_a_delta_memory_always_has_bounded_keys():
    """With keys longer than one, I - beta k k^T expands and the state diverges."""
    for memory in UNIT_KEYS:
        for norm in ("none", "rms"):
            assert Genome(memory=memory, key_norm=norm, features="identity").key_norm == "l2"


def test_what_was_drawn_before_the_panel_of_2026_is_drawn_again():
    """300 genomes and their sources, by a digest of their addresses that was taken before the grammar grew."""
    drawn = [random_genome(random.Random(seed), earlier_domain()) for seed in range(300)]
    assert not any(f"{field}={value}" in LATER for genome in drawn for field, value in genome.choices().items())
    addresses = " ".join(content_address(render(genome)) for genome in drawn)
    assert hashlib.sha256(addresses.encode()).hexdigest()[:16] == "76645b8efd9f4cfa"


def test_every_field_is_of_one_organ_and_what_is_named_is_a_choice():
    fields = [field for organ in ORGANS for field in organ]
    assert sorted(fields) == sorted(domain())
    assert set(mechanism_names()) >= COSTLY | LATER


def test_every_choice_has_words_and_every_trait_is_a_choice():
    assert set(TRAITS) <= set(mechanism_names())
    for tag in mechanism_names():
        assert phrase(tag)
        field, value = choice_of(tag)
        assert tag_of(field, value) == tag


def test_a_tag_that_the_grammar_has_not_is_no_choice():
    assert choice_of("memory=gated_deltas") is None
    assert choice_of("memory") is None
    assert choice_of("attention=flash") is None


@pytest.mark.parametrize("tag", mechanism_names())
def test_every_choice_can_be_inserted_into_plain_linear_attention(tag):
    """With its companions each choice takes effect."""
    field, value = choice_of(tag)
    child = with_choice(Genome(), field, value)
    if value != getattr(Genome(), field):
        assert getattr(child, field) == value
        assert tag in difference(Genome(), child)
