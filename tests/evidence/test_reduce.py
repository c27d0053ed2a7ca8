"""Taking a winner apart: parts that carry the gain stay, the others go, in the order of what they cost."""

import random

import pytest

from asiarc.core.candidate import content_address
from asiarc.core.errors import CandidateError, EvidenceError
from asiarc.core.genome import Genome
from asiarc.evidence.effects import paired_effect
from asiarc.models.baselines import baseline_source
from asiarc.researcher.render import render
from asiarc.studies.reduce import REFERENCE, genome_of, parts_of, reduce

WINNER = Genome(memory="gated_delta", features="silu", key_norm="l2", convolution=4, short_fir=3, output_gate="silu")
DELTA = baseline_source("delta_net")


class Bench:
    """Losses by what a mixer is made of: each part that is worth something lowers them by its worth."""

    def __init__(self, **worth):
        self.worth, self.seen = worth, []

    def conduct(self, study, number):
        self.seen.append((number, study))
        return Result(self, study)

    def loss(self, source):
        choices = GENOMES[content_address(source)].choices()
        return 2.6 - sum(worth for field, worth in self.worth.items() if field in choices)


def everything(genome):
    """All that taking parts away can lead to, by address."""
    found, new = {}, [genome]
    while new:
        one = new.pop()
        if (address := content_address(render(one))) not in found:
            found[address] = one
            new += parts_of(one).values()
    return found


GENOMES = everything(WINNER)


class Result:
    def __init__(self, bench, study):
        self.bench, self.study = bench, study

    def values(self, mixer, task):
        loss = 2.5 if mixer == REFERENCE else self.bench.loss(self.study.mixers[mixer])
        draw = random.Random(mixer)
        return {str(seed): loss + draw.gauss(0, 0.002) for seed in range(self.study.seeds)}

    def gain(self, ahead, behind, task, *, num_comparisons=1):
        return paired_effect(
            self.values(ahead, task), self.values(behind, task), higher_is_better=False, num_comparisons=num_comparisons
        )


def reduced(bench, genome=WINNER):
    return reduce(genome, DELTA, bench.conduct, seeds=5, steps=10, task="text", tier="smoke")


def test_what_carries_the_gain_is_left_and_named():
    bench = Bench(memory=0.3, convolution=0.1, short_fir=0.0)
    found = reduced(bench)
    assert found.left.memory == "gated_delta" and found.left.convolution == 4
    assert found.left.short_fir == 0 and found.left.output_gate == "none"
    assert found.gain.mean == pytest.approx(0.3, abs=0.01) and found.gain.low > 0
    assert "short_fir=3" in found.gone and "output_gate=silu" in found.gone
    assert "gated delta" in found.lines()[-1] and found.as_dict()["address"] == content_address(found.source)
    assert all(study.size_of == REFERENCE and study.seeds == 5 for _, study in bench.seen)


def test_a_part_that_matters_a_little_stays():
    assert reduced(Bench(memory=0.3, output_gate=0.02)).left.output_gate == "silu"


def test_every_part_needed_means_one_round():
    bench = Bench(memory=0.3, convolution=0.2, short_fir=0.2, output_gate=0.2)
    found = reduced(bench)
    assert {"short_fir=3", "output_gate=silu", "convolution=4", "memory=gated_delta"}.isdisjoint(found.gone)
    assert [number for number, _ in bench.seen] == list(range(len(bench.seen)))


def test_no_gain_is_nothing_to_keep():
    with pytest.raises(EvidenceError, match="no gain to keep"):
        reduced(Bench(memory=0.1))  # 2.5, as the reference


def test_each_part_is_one_choice_less_and_equal_remainders_count_once():
    parts = parts_of(WINNER)
    assert WINNER not in parts.values() and len(set(map(render, parts.values()))) == len(parts)
    assert parts["convolution=4"].convolution == 0 and parts["convolution=4"].short_fir == 3
    assert parts["memory=gated_delta"].memory == "additive"
    assert not any(tag.startswith("router") for tag in parts)  # with two paths a sum stands: there is none to take away


def test_a_mixer_without_a_genome_says_so():
    assert genome_of("delta_net", None, DELTA).memory == "delta"
    with pytest.raises(CandidateError, match="parts are not known"):
        genome_of("mine", None, "class Mixer: ...")
