"""The rig that leaves out sections: its worlds are what it says, its searches are the product's, and a cut is a cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from asiarc.core.genome import Genome
from asiarc.researcher.designs import BASELINES
from tests.rigs.policies import sections
from tests.rigs.policies.commands import TABLE
from tests.rigs.policies.table import Table

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(sections, "CANDIDATES", 8)
    monkeypatch.setattr(sections, "GENERATION", 4)


def test_a_choice_is_worth_what_the_table_says_of_those_that_have_it():
    """With as little ridge as can be, the sums are the table's own gains; the noise is the seeds'."""
    table = Table.read(ROOT / TABLE)
    weights, noise = sections.fitted(table)
    worth = sections.worth_of(weights)
    means = [sum(entry.bits[-1]) / len(entry.bits[-1]) for entry in table.entries]
    told = [worth(Genome(**entry.choices)) for entry in table.entries]
    assert told[0] == 0 and worth(BASELINES[sections.START]) == 0
    misses = [abs(one - (means[0] - mean)) for one, mean in zip(told, means, strict=True)]
    assert sum(misses) / len(misses) < 0.1 * (max(means) - min(means))
    assert 0 < noise < 0.1


def test_a_search_is_the_same_every_time_and_what_is_cut_is_not_seen(monkeypatch):
    contexts = []
    propose = sections.GrammarResearcher.propose
    monkeypatch.setattr(
        sections.GrammarResearcher, "propose", lambda self, context: contexts.append(context) or propose(self, context)
    )
    worth = sections.worth_of({"memory=gated_delta": 0.3, "rotary=True": -0.2})
    ends = {name: sections.Searched(worth, 0.01, 3, cut).run() for name, cut in sections.CUTS.items()}
    assert sections.Searched(worth, 0.01, 3, sections.CUTS["full"]).run() == ends["full"]
    seen = [contexts[i : i + 8] for i in range(0, len(contexts), 8)]
    full, *_, bare, _ = seen
    assert any(one.insights for one in full) and any(one.cognition for one in full)
    assert any(one.references for one in full)
    assert not any(one.insights or one.cognition or one.references for one in bare)
