"""The surrogate, the worlds it makes, and the loop that searches them."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from click.testing import CliRunner

from asiarc.core.errors import EvidenceError
from asiarc.core.genome import Genome, random_genome
from asiarc.core.seeds import rng_of
from asiarc.researcher.designs import DESIGNS
from tests.rigs.arms import commands
from tests.rigs.arms.commands import RESULT, RUNGS, against, arm_lines, best_within, comparisons, share_lines, simulate
from tests.rigs.arms.genomes import Member, population, read, write
from tests.rigs.arms.laboratory import FULL, Searched, expected_maximum, searched
from tests.rigs.arms.world import LEAST, Luck, Surrogate, World, coded, fitted

FIRST = RUNGS[0]
WORTH = {"delta": 0.3, "gated_delta": 0.4, "ssd": 0.2}


def loss(genome: Genome) -> float:
    """A truth that is a sum over choices."""
    return 4.0 - WORTH.get(genome.memory, 0.0) - 0.2 * (genome.residual == "skip") - 0.1 * bool(genome.convolution)


def made(size: int, noise: float = 0.0) -> list[Member]:
    """Members whose losses are that sum, the first ten on three seeds and both rungs; a seed's effect is its number."""
    draws, found = random.Random(0), []
    for number, (address, genome) in enumerate(population(size).items()):
        seeds = range(3 if number < 10 else 1)
        bits = {
            str(steps): {str(s): loss(genome) - 0.5 * rung + 0.1 * s + draws.gauss(0, noise) for s in seeds}
            for rung, steps in enumerate(RUNGS if number < 10 else RUNGS[:1])
        }
        measures = {"parameters": 1e5, "state_bytes": 8192.0 * (1 + genome.rotary), "flops_per_token": 4e4}
        found.append(Member(address, genome.choices(), measures=measures, bits=bits))
    return found


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return Surrogate(made(60, 0.01), RUNGS)


def test_a_population_is_the_beginning_of_a_larger_one():
    small, large = population(20), population(40)
    assert [*large][:20] == [*small] and len(large) == 40
    assert [*large.values()][: len(DESIGNS)] == [*DESIGNS.values()]


def test_what_was_counted_is_not_foretold(surrogate):
    for member in made(60, 0.01):
        assert surrogate.measures(Genome(**member.genome)) == member.measures


def test_the_surrogate_foretells_what_it_was_not_shown(surrogate):
    unseen = [random_genome(rng_of("unseen", number)) for number in range(200)]
    told = np.array([surrogate.loss.predicted(genome)[0] for genome in unseen])
    true = np.array([loss(genome) for genome in unseen])
    assert np.corrcoef(told, true)[0, 1] > 0.7
    assert surrogate.loss.explained() > 0.3


def test_what_was_measured_without_noise_is_known_and_what_is_far_is_not():
    process = replace(fitted({Genome(**m.genome): m.bits[str(FIRST)]["0"] for m in made(40)}), noise=1e-6)
    for x_F, y in zip(process.at[:5], process.values[:5], strict=True):
        genome = next(Genome(**m.genome) for m in made(40) if (coded(Genome(**m.genome)) == x_F).all())
        mean, sd = process.predicted(genome)
        assert mean == pytest.approx(y, abs=1e-3) and sd < 0.01
    assert process.predicted(random_genome(rng_of("far")))[1] > 0.02


def test_leaving_one_out_is_what_it_says():
    values = {Genome(**m.genome): m.bits[str(FIRST)]["0"] for m in made(LEAST, 0.05)}
    process = fitted(values)
    left = process.weights_N / process.inverse_NN.diagonal()
    keep = np.arange(len(values)) != 3
    without = replace(process, at=process.at[keep], values=process.values[keep] - process.mean)
    k_N = process.covariance(process.at[3:4])[0][keep]
    foretold = k_N @ without.inverse_NN @ without.values + process.mean
    assert process.values[3] - foretold == pytest.approx(left[3])


def test_noise_is_read_off_those_that_were_trained_again():
    luck = Luck.of(made(30, 0.02), FIRST)
    assert luck is not None and luck.own == pytest.approx(0.02, rel=0.5) and luck.shared == pytest.approx(0.1, rel=0.3)
    assert Luck.of(made(30)[10:], FIRST) is None
    assert Luck.of(made(30)[:1], FIRST) is None, "of one member alone nobody knows whose luck its seeds had"
    with pytest.raises(EvidenceError, match="two seeds"):
        Surrogate(made(40)[10:], RUNGS)
    with pytest.raises(EvidenceError, match="a surrogate takes 20"):
        Surrogate(made(12), RUNGS)


def test_a_world_is_fixed_and_another_number_is_another_world(surrogate):
    genome = random_genome(rng_of("one"))
    one, again, other = World(surrogate, 0), World(surrogate, 0), World(surrogate, 1)
    assert one.shown("a", genome, FIRST, "s") == again.shown("a", genome, FIRST, "s")
    assert one.truth("a", genome, FIRST) != other.truth("a", genome, FIRST)
    apart = [one.shown("a", genome, FIRST, str(s)) - one.truth("a", genome, FIRST) for s in range(400)]
    assert np.std(apart) == pytest.approx(np.hypot(surrogate.luck[FIRST].own, surrogate.luck[FIRST].shared), rel=0.15)


@pytest.mark.parametrize("draws", [1, 2, 3, 5])
def test_the_expected_maximum_is_the_mean_over_all_choices(draws):
    values = [0.3, -1.0, 2.5, 0.7, 0.1]
    assert expected_maximum(values, draws) == pytest.approx(fmean(map(max, itertools.combinations(values, draws))))


def test_the_loop_searches_a_world(surrogate):
    """It proposes, is refused, trains and ends as in a campaign, and what it puts first is worth more than a draw."""
    full, random_ = (searched(surrogate, arm, 0, 16) for arm in (FULL, "random"))
    for one in (full, random_):
        assert len(one.scored) + one.refused == 16 and list(one.cpu_s) == sorted(one.cpu_s)
    assert full.winner > fmean(full.scored)
    assert searched(surrogate, FULL, 0, 16) == full


def test_a_simulation_that_was_ended_goes_on_and_one_of_other_genomes_begins(tmp_path, monkeypatch):
    genomes, asked = tmp_path / "genomes.jsonl", []
    write(made(30, 0.01), genomes)

    def counted(surrogate, arm, number, candidates):
        asked.append((arm, number))
        if len(asked) == 13:
            raise KeyboardInterrupt
        return Searched(0.1 * number, (0.0, 0.1), (1.0, 2.0), 0.0, 1)

    monkeypatch.setattr(commands, "searched", counted)
    options = ["7", "--arm", "random", "--genomes", str(genomes), "--out", str(tmp_path)]

    def run(*more: str) -> int:
        return CliRunner().invoke(simulate, [*options, *more]).exit_code

    assert run() == 1 and (tmp_path / RESULT).exists()
    assert run() == 0 and asked[13:] == [(arm, number) for number in (5, 6) for arm in (FULL, "random")]
    assert run() == 0 and len(asked) == 17, "it is all there"
    assert (tmp_path / "arms.svg").exists() and "7 worlds" in (tmp_path / "arms.txt").read_text()
    assert run("--candidates", "5") == 0 and len(asked) == 31


def test_what_was_spent_buys_what_was_scored_by_then():
    found = [Searched(0.3, (0.1, 0.3, 0.2), (1.0, 2.0, 4.0), 0.2, 0), Searched(0.2, (0.2,), (3.0,), 0.2, 2)]
    assert best_within(found, 0.5, exchangeable=False) == 0
    poor = replace(found[0], scored=(-1.0, -2.0, 0.4))
    assert best_within([poor], 2.0, exchangeable=False) == 0, "the start is better, and was there before"
    assert best_within(found, 2.0, exchangeable=False) == pytest.approx(0.15)
    assert best_within(found, 3.0, exchangeable=True) == pytest.approx(((0.3 + 0.2 + 0.3) / 3 + 0.2) / 2)
    assert "of the 6 CPU-seconds" in share_lines({FULL: [found[0], replace(found[1], cpu_s=(8.0,))]})[0]


def test_arms_are_told_apart_where_they_are_apart(tmp_path):
    good = [Searched(0.30 + 0.01 * (i % 3), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), 0.2, 1) for i in range(12)]
    poor = [replace(one, winner=one.winner - 0.2 + 0.01 * (i % 2)) for i, one in enumerate(good)]
    found = {FULL: good, "random": poor, "best_of_n": good[::-1]}
    assert against(found, "random").low > 0 and against(found, "best_of_n").low <= 0 <= against(found, "best_of_n").high
    told = comparisons(found)
    assert "chance 1.00" in told[0] and len(arm_lines(found)) == 4
    file = tmp_path / "genomes.jsonl"
    write(made(12), file)
    assert read(file) == made(12)
    with pytest.raises(EvidenceError, match="arms record"):
        read(tmp_path / "none")


def test_a_member_of_two_files_is_one_with_the_trials_of_both(tmp_path):
    here, there, both = made(12), made(12)[3:], tmp_path / "both"
    for member in there:
        member.bits = {steps: {f"again/{seed}": value for seed, value in some.items()}
                       for steps, some in member.bits.items()}  # fmt: skip
    write(here, tmp_path / "here")
    write(there, both)
    found = read(tmp_path / "here", both)
    assert [member.address for member in found] == [member.address for member in here]
    assert found[0] == here[0]
    assert {*found[3].bits[str(FIRST)]} == {"0", "1", "2", "again/0", "again/1", "again/2"}
