"""The offline researcher: pure, never repeating, steered by evidence, true about where choices come from."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

from asiarc.core.candidate import content_address, load_mixer, motivation
from asiarc.core.errors import BudgetExhaustedError
from asiarc.core.genome import Genome
from asiarc.core.proposal import CognitionHit, Context, Failure, Insight, Proposal, Relative, as_json, from_json
from asiarc.models.baselines import baseline_source
from asiarc.researcher import grammar
from asiarc.researcher.designs import BASELINES
from asiarc.researcher.grammar import GrammarResearcher, RandomResearcher
from asiarc.researcher.render import render


def baseline(name):
    source = baseline_source(name)
    return Relative(
        address=content_address(source), name=name, source=source, genome=BASELINES[name].model_dump(), scores={}
    )


def relative(proposal):
    return Relative(
        address=content_address(proposal.source),
        name=proposal.name,
        source=proposal.source,
        genome=proposal.genome,
        scores={"gain": 0.1},
    )


PLAIN = Context(seed=11, generation=0, index=0, parent=baseline("delta_net"))
RICH = replace(
    PLAIN,
    references=tuple(map(baseline, ("gated_delta_net", "mamba2", "kda"))),
    insights=(Insight(text="Forgets late.", weakness="reset", mechanisms=("memory=gated_delta", "-rotary=True")),),
    cognition=(CognitionHit(entry="gdn-gate", title="Gated Delta Networks", mechanism="output_gate=silu"),),
)


def walk(researcher, context, steps):
    """A seeded walk: each proposal becomes the parent now and then."""
    known, parent, proposals = set(), context.parent, []
    for index in range(steps):
        here = replace(context, index=index, generation=index // 8, parent=parent, known=frozenset(known))
        proposals.append(researcher.propose(here))
        known.add(content_address(proposals[-1].source))
        if index % 3 == 0:
            parent = relative(proposals[-1])
    return proposals


@pytest.mark.parametrize("researcher", [GrammarResearcher(), RandomResearcher()])
def test_two_hundred_proposals_are_distinct_and_whole(researcher):
    proposals = walk(researcher, RICH, 200)
    assert len({p.source.split('"""', 2)[2] for p in proposals}) == 200
    assert len({p.name for p in proposals}) == 200
    for proposal in proposals:
        genome = Genome(**proposal.genome)
        assert genome.model_dump() == proposal.genome
        assert render(genome).split('"""', 2)[2] == proposal.source.split('"""', 2)[2]
        assert max(map(len, proposal.source.splitlines())) <= 110
        assert proposal.name in motivation(proposal.source)
        assert proposal.motivation
        assert proposal.predicted


def test_a_walk_trains():
    """Every eighth proposal takes a gradient step that changes its output."""
    for proposal in walk(GrammarResearcher(), RICH, 60)[::8]:
        torch.manual_seed(0)
        mixer = load_mixer(proposal.source)(32, 2)
        x = torch.randn(2, 17, 32)
        before, _ = mixer(x)
        optimiser = torch.optim.SGD(mixer.parameters(), lr=0.1)
        before.square().mean().backward()
        optimiser.step()
        after, _ = mixer(x)
        assert after.square().mean() < before.square().mean(), proposal.name


@pytest.mark.parametrize("researcher", [GrammarResearcher(), RandomResearcher()])
def test_the_same_context_gives_the_same_proposal(researcher):
    assert researcher.propose(RICH) == researcher.propose(from_json(Context, json.loads(json.dumps(as_json(RICH)))))
    assert researcher.propose(RICH) != researcher.propose(replace(RICH, seed=12))
    assert researcher.propose(RICH) != researcher.propose(replace(RICH, index=1))


def test_proposals_survive_json():
    proposal = GrammarResearcher().propose(RICH)
    assert from_json(Proposal, json.loads(json.dumps(as_json(proposal)))) == proposal


def test_nothing_known_is_proposed_again():
    first = GrammarResearcher().propose(PLAIN)
    again = GrammarResearcher().propose(replace(PLAIN, known=frozenset({content_address(first.source)})))
    assert content_address(again.source) != content_address(first.source)
    for seed in range(40):
        address = content_address(GrammarResearcher().propose(replace(PLAIN, seed=seed)).source)
        assert address != PLAIN.parent.address


class Everything(frozenset):
    """A set that has seen it all."""

    def __contains__(self, address):
        return True

    def __or__(self, other):
        return self


@pytest.mark.parametrize("researcher", [GrammarResearcher(), RandomResearcher()])
def test_an_exhausted_grammar_says_so(researcher, monkeypatch):
    monkeypatch.setattr(grammar, "DRAWS", 50)
    with pytest.raises(BudgetExhaustedError, match="nothing new in 50 draws"):
        researcher.propose(replace(PLAIN, known=Everything()))


def frequency(context, *wanted, seeds=100):
    """How many of the seeds' proposals make one of the wanted choices anew."""
    parent = set(tags(context.parent.genome))
    drawn = (GrammarResearcher().propose(replace(context, seed=seed)) for seed in range(seeds))
    return sum(bool(set(wanted) & set(tags(proposal.genome)) - parent) for proposal in drawn)


def tags(genome):
    return [f"{field}={value}" for field, value in genome.items()]


def test_a_cognition_hit_makes_its_mechanism_frequent():
    hit = CognitionHit(entry="x", title="X", mechanism="router=hierarchical")
    assert frequency(replace(PLAIN, cognition=(hit,)), hit.mechanism) > 5 * max(1, frequency(PLAIN, hit.mechanism))


def test_an_insight_favours_and_advises_against():
    def told(*mechanisms):
        return replace(PLAIN, insights=(Insight(text="", weakness="", mechanisms=mechanisms),))

    choices = ("rotary=True", "shift=True", "value_path=True")
    plain = frequency(PLAIN, *choices)
    assert frequency(told(*choices), *choices) > 2 * plain
    assert frequency(told(*(f"-{choice}" for choice in choices)), *choices) < plain / 2


def test_a_weakness_favours_what_should_help():
    weak = replace(PLAIN, insights=(Insight(text="", weakness="s3"),))
    helps = ("negative_eigenvalues=True", "memory=delta_product", "memory=gated_delta_product")
    assert frequency(weak, *helps) > 1.3 * frequency(PLAIN, *helps)


def test_rejections_for_size_make_costly_choices_rare():
    failure = Failure(address="0", gate="state_bytes", reason="too large")
    tight = replace(PLAIN, failed=(failure,))
    costly = ("memory=delta_product", "memory=gated_delta_product", "long_fir=63")
    assert frequency(tight, *costly) < 0.6 * frequency(PLAIN, *costly)
    other = replace(PLAIN, failed=(replace(failure, gate="causality"),))
    assert GrammarResearcher().propose(other) == GrammarResearcher().propose(PLAIN)


def test_unknown_mechanisms_in_the_context_do_no_harm():
    context = replace(
        PLAIN,
        cognition=(CognitionHit(entry="x", title="X", mechanism="attention=flash"),),
        insights=(Insight(text="", weakness="poetry", mechanisms=("nonsense", "-more nonsense")),),
    )
    assert GrammarResearcher().propose(context).source


def proposals(context, seeds=60):
    return [GrammarResearcher().propose(replace(context, seed=seed)) for seed in range(seeds)]


def test_every_element_has_an_origin_that_is_true():
    parent, donors = set(tags(RICH.parent.genome)), {r.address: set(tags(r.genome)) for r in RICH.references}
    kinds = Counter()
    for proposal in proposals(RICH):
        genome = set(tags(proposal.genome))
        elements = [origin.element for origin in proposal.origins]
        assert len(elements) == len(set(elements))
        assert genome - parent <= set(elements) <= genome
        for origin in proposal.origins:
            kinds[origin.kind] += 1
            if origin.kind == "cognition":
                assert (origin.element, origin.reference) == ("output_gate=silu", "gdn-gate")
            elif origin.kind == "original":
                assert origin.element not in parent
                assert origin.reference == ""
            elif origin.reference == RICH.parent.address:
                assert origin.element in parent or origin.element == "memory=gated_delta"
            else:
                assert origin.element in donors[origin.reference]
                assert origin.reference in proposal.parents
    assert min(kinds[kind] for kind in ("cognition", "experience", "original")) > 5


def test_the_motivation_names_the_entry_and_the_weakness():
    cited = [p for p in proposals(RICH) if any(o.kind == "cognition" for o in p.origins)]
    assert cited
    for proposal in cited:
        assert "Gated Delta Networks (gdn-gate)" in proposal.motivation
        assert "weakest on reset" in proposal.motivation
        assert proposal.predicted in proposal.motivation


def test_a_parent_without_a_genome_is_not_claimed_as_one():
    foreign = Relative(address="f" * 16, name="written_elsewhere", source="", genome=None, scores={})
    proposal = GrammarResearcher().propose(replace(PLAIN, parent=foreign))
    assert proposal.parents == ()
    assert "written_elsewhere is without a genome; from delta_net" in proposal.motivation
    assert not any(origin.reference == foreign.address for origin in proposal.origins)


def test_a_baseline_without_a_stored_genome_is_recognised():
    bare = replace(PLAIN.parent, genome=None)
    proposal = GrammarResearcher().propose(replace(PLAIN, parent=bare))
    assert proposal == GrammarResearcher().propose(PLAIN)
    assert proposal.parents[0] == bare.address


def test_hostile_names_and_titles_stay_text():
    named = replace(PLAIN.parent, name='"""\nimport os\n"""')
    hit = CognitionHit(entry="\\", title='"""', mechanism="output_gate=silu")
    for proposal in proposals(replace(PLAIN, parent=named, cognition=(hit,)), seeds=20):
        assert content_address(proposal.source) == content_address(render(Genome(**proposal.genome)))


def test_the_control_arm_learns_nothing():
    random_proposal = RandomResearcher().propose(RICH)
    assert random_proposal == RandomResearcher().propose(PLAIN)
    assert random_proposal.parents == ()
    assert {origin.kind for origin in random_proposal.origins} == {"original"}
