"""The rig that measures the grammar's space: its count is a count, and its diversity is that of what is given."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from click.testing import CliRunner

from asiarc.core.genome import Genome, canonical, defaults, domain
from tests.rigs.grammar import canonical_genomes, constraints, diversity, main, reach_lines

PARTS = (
    ("memory", "decay", "time_scales", "turn", "norm"),
    ("memory", "features", "key_norm", "shared_keys", "window", "steps"),
    ("short_fir", "value_path", "product", "router", "router_first", "residual", "lean"),
    ("memory", "time_scales", "window", "router", "floor", "temperature"),
)


@pytest.mark.parametrize("fields", PARTS, ids=" ".join)
def test_the_size_is_that_of_counting(fields):
    """Over a few fields, the others at one value, each combination made canonical and counted once."""
    choices = {field: options if field in fields else options[:1] for field, options in domain().items()}
    every = (canonical(dict(zip(fields, values, strict=True))) for values in product(*(choices[f] for f in fields)))
    inside = {tuple(found.values()) for found in every if all(found[field] in choices[field] for field in found)}
    assert canonical_genomes(choices) == len(inside)


def test_what_no_step_changes_is_canonical():
    """A genome is canonical where each step leaves what it sets."""
    scopes = {factor.fields[0]: set(factor.fields) for factor in constraints(domain())}
    assert scopes["decay"] == {"decay", "memory"}
    assert scopes["local"] == {"local", "short_fir", "long_fir"}
    assert canonical(defaults()) == defaults() == Genome().model_dump()


def test_the_reach_names_every_mixer_of_the_panel():
    told = list(reach_lines())
    assert told[0] == "panel 2026-11: 17 of 20 computed exactly, 1 with another block around its memory"
    assert "  gated_delta_net: 2 from delta_net (the gated delta rule, a SiLU output gate); the same file" in told


def test_diversity_counts_twins_once_and_directions_as_they_are():
    rng = np.random.default_rng(0)
    two = rng.normal(size=(400, 2)) @ np.linalg.qr(rng.normal(size=(16, 2)))[0].T
    found = diversity(np.concatenate((two, two[:30])))
    assert (found.draws, found.distinct) == (430, 400)
    assert found.directions == pytest.approx(2, abs=0.1)
    apart = diversity(4 * np.eye(16)).apart
    assert apart == pytest.approx(2**0.5), "projections of outputs that share nothing"


def test_the_command_prints_all_of_it():
    result = CliRunner().invoke(main, ["--draws", "3", "--gates", "0"])
    assert result.exit_code == 0, result.output
    for words in ("canonical genomes now", "headline designs: 5 of 5", "admitted at micro", "3 random draws before"):
        assert f"\n{words}" in f"\n{result.output}"
