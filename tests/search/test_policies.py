"""Every policy against brute force on tiny tables, and the paper's against a plain re-implementation of its text."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.evidence.paper import fitness
from asiarc.search.policies import POLICIES
from asiarc.search.policies.bayes import Thompson, UpperBound
from asiarc.search.policies.controls import BestOfN, RandomSearch
from asiarc.search.policies.elites import MapElites, cell_of
from asiarc.search.policies.halving import Asha, SuccessiveHalving
from asiarc.search.policies.paper import PaperPolicy, paper_fitness
from asiarc.search.protocol import ROOT, Board, Evaluation, Traits
from tests.rigs.policies.replay import search

from .worlds import Plain, board_of, generator

RUNGS = (0.125, 0.25, 0.5, 1.0)
worths = st.lists(st.integers(-30, 30).map(lambda n: n / 100), min_size=2, max_size=9, unique=True)
everyone = pytest.mark.parametrize("name", sorted(POLICIES))


# --- what holds for all -----------------------------------------------------------------------------------------------


@everyone
@given(worths, st.sampled_from([(1.0,), RUNGS]), st.integers(0, 99))
def test_without_noise_the_best_is_found_and_not_overstated(name, worth, costs, seed):
    world = Plain(worth, costs=costs)
    found = search(POLICIES[name](), world, 6.0 * len(worth), generator(seed))
    assert found.best and found.regret == 0
    if name in ("paper", "random", "best_of_n"):
        assert found.bias == pytest.approx(0, abs=1e-12)
    else:  # a single run of each is drawn toward their mean, which is where the best is not
        assert found.bias < 1e-6


@everyone
@given(st.integers(2, 9), st.sampled_from([(1.0,), RUNGS]), st.sampled_from([1.0, 2.0, 3.5]), st.integers(0, 999))
def test_no_policy_spends_more_than_it_has_and_the_first_looks_that_are_always_paid(name, size, costs, each, seed):
    rng = generator(seed)
    world = Plain(rng.normal(0, 0.1, size), rng.normal(0, 0.1, (size, 256)), costs)
    found = search(POLICIES[name](), world, each * size, rng)
    assert 0 < found.spent <= each * size + len(range(4, size)) + 1e-6, "four come in the first generation"
    assert found.best == (found.regret == 0) and found.regret >= 0


@everyone
@given(st.integers(1, 12), st.integers(0, 99))
def test_a_parent_is_in_the_pool_and_references_are_four_others_at_most(name, size, seed):
    rng = generator(seed)
    board = board_of([[gain] for gain in rng.normal(0, 0.1, size)], expected=size + 1)
    parent, references = POLICIES[name]().parents(board, generator(seed))
    assert 0 <= parent <= size and set(references) <= set(range(size + 1)) - {parent}
    assert len(set(references)) == len(references) <= 4
    assert POLICIES[name]().parents(board, generator(seed)) == (parent, references), "a function of board and seed"


@everyone
def test_what_is_not_fit_is_neither_trained_nor_recommended_nor_a_parent(name):
    board = board_of([[0.9], [0.1], [0.2]], budget=20)
    board.fit[1] = False
    policy = POLICIES[name]()
    assert policy.recommend(board)[0].candidate == 3
    for seed in range(30):
        assert policy.parents(board, generator(seed))[0] != 1
        assert all(run.candidate != 1 for run in policy.next(board, generator(seed)))


@everyone
@given(st.lists(st.sampled_from([None, {0: [0.1]}, {0: [0.2], 3: [0.3]}, {3: [0.1, 0.5]}]), min_size=1, max_size=9))
def test_what_is_recommended_is_every_fit_candidate_that_counts_once(name, shown):
    """Whoever reached the last rung; where nobody did, whoever was trained at all (the paper's has no such rung)."""
    board = board_of([gains or {} for gains in shown], costs=RUNGS, expected=len(shown))
    for i, gains in enumerate(shown, 1):
        board.fit[i] = gains is not None
    named = [found.candidate for found in POLICIES[name]().recommend(board)]
    deep = [i for i, gains in enumerate(shown, 1) if gains and 3 in gains]
    trained = [i for i, gains in enumerate(shown, 1) if gains]
    assert sorted(named) == (deep or ([] if name == "paper" else trained))
    assert all(np.isfinite(found.estimate) for found in POLICIES[name]().recommend(board))


@everyone
@given(st.integers(1, 12), st.integers(0, 99))
def test_with_nobody_fit_there_is_nothing_to_train(name, size, seed):
    """A generation that no gate admitted ends the search or goes on to the next, and breaks nothing."""
    board = Board(RUNGS, 10.0, size, None, generation=4)
    for _ in range(size):
        board.enter(None)
    assert POLICIES[name]().next(board, generator(seed)) == [] and POLICIES[name]().recommend(board) == []
    assert POLICIES[name]().parents(board, generator(seed)) == (ROOT, [])


@given(
    st.lists(
        st.dictionaries(st.integers(0, 2), st.lists(st.floats(-1, 1), min_size=1, max_size=3)), min_size=1, max_size=8
    )
)
def test_the_ranking_puts_the_deepest_first_then_the_best_then_the_oldest(gains):
    board = board_of(gains, costs=(0.25, 0.5, 1.0))
    order = board.ranking()
    assert sorted(order) == list(range(len(gains) + 1))

    def key(i):
        shown = {2: [0.0]} if i == ROOT else gains[i - 1]
        return max(shown, default=-1), np.mean(shown[max(shown)]) if shown else -9.0

    for better, worse in pairwise(order):
        assert key(better)[0] >= key(worse)[0]
        if key(better)[0] == key(worse)[0]:
            assert key(better)[1] > key(worse)[1] - 1e-12
        if better and worse and gains[better - 1] == gains[worse - 1]:
            assert better < worse, "the earlier proposal first among equals"


# --- controls ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 999))
def test_best_of_n_is_the_largest_mean_of_equally_many_runs(size, runs, seed):
    rng = generator(seed)
    noise = rng.normal(0, 1, (size, 256))
    world = Plain(rng.normal(0, 1, size), noise)
    found = search(BestOfN(), world, runs * size + 0.5, rng)
    means = world.truth + noise[:, :runs].mean(1)
    best = means.argmax()
    assert found.spent == runs * size
    assert found.regret == pytest.approx(world.truth.max() - world.truth[best])
    assert found.bias == pytest.approx(means[best] - world.truth[best])


def test_random_search_draws_parents_and_runs_evenly():
    board = board_of([[gain] for gain in (0.5, -0.5, 0.0)])
    parents = Counter(RandomSearch().parents(board, generator(seed))[0] for seed in range(2000))
    runs = Counter(RandomSearch().next(board, generator(seed))[0].candidate for seed in range(2000))
    assert set(parents) == {0, 1, 2, 3} and max(parents.values()) < 1.2 * min(parents.values())
    assert set(runs) == {1, 2, 3} and max(runs.values()) < 1.2 * min(runs.values())


# --- the paper's ------------------------------------------------------------------------------------------------------


def paper_pool(gains, loss=4.575, band=0.1):
    """The paper's pool grown one scored candidate at a time: the best 50, renewed at 200, 250, 300, ..."""

    def worth(i):
        gain = 0.0 if i == ROOT else gains[i - 1]
        relative = max(-1.0, min(1.0, gain / loss / 0.1))
        return 1 / (1 + np.exp(-6 * relative))

    seen, renewed = [ROOT], [ROOT]
    for i, gain in enumerate(gains, 1):
        seen += [i] if abs(gain / loss) < band else []
        if i >= 200 and i % 50 == 0:
            renewed = sorted(seen, key=lambda j: (-worth(j), j))[:50]
    return renewed


@pytest.mark.parametrize("size", [0, 1, 199, 200, 249, 250, 263, 500])
@pytest.mark.parametrize("spread", [0.02, 0.4])  # within the band, and with half of the candidates outside
def test_the_papers_policy_is_the_papers(size, spread):
    """Pool of 50 renewed every 50 after a cold start of 200; parents are ranks 1 to 10, references ranks 11 to 50."""
    gains = generator(size).normal(0, spread, size).tolist()
    board = board_of([[gain] for gain in gains], expected=size + 1)
    best = paper_pool(gains)
    assert PaperPolicy().pool(board) == best
    draws = [PaperPolicy().parents(board, generator(seed)) for seed in range(600)]
    parents = Counter(parent for parent, _ in draws)
    references = Counter(reference for _, references in draws for reference in references)
    assert set(parents) == set(best[:10]) and set(references) == set(best[10:])
    if len(best) > 1:
        assert len(best) == 50 and all(len(chosen) == 4 for _, chosen in draws)
        assert max(parents.values()) < 2 * min(parents.values()), "parents are uniform"
    else:
        assert best == [ROOT] and size < 200, "a cold start has nobody but the root"


def test_failed_candidates_are_no_insertions():
    gains = generator(1).normal(0, 0.1, 260).tolist()
    board = board_of([[gain] for gain in gains], expected=300)
    board.fit[[1, 2, *range(100, 160)]] = False
    assert PaperPolicy().pool(board) == [ROOT], "198 were scored"


def test_the_papers_pool_is_still_between_two_renewals():
    """A newcomer, however good, waits for the next renewal."""
    gains = [[gain] for gain in generator(0).normal(0, 0.01, 260)]
    assert 261 not in PaperPolicy().pool(board_of([*gains, [0.3]], expected=300))
    assert PaperPolicy().pool(board_of([*gains, [0.3], *[[-0.1]] * 39]))[0] == 261


def test_the_papers_fitness_is_the_papers():
    """With start_from in DeltaNet's place: equal relative losses have equal fitness, and 10 % ends the slope."""
    assert paper_fitness(0.0, 2.0) == pytest.approx(fitness(4.575, 0.224, 5.0))
    assert paper_fitness(0.1, 2.0) == pytest.approx(fitness(4.575 * 0.95, 0.224, 5.0))
    assert paper_fitness(0.2, 2.0) == pytest.approx(paper_fitness(0.5, 2.0))
    assert paper_fitness(0.1, 2.0, 9.0) == pytest.approx(fitness(4.575 * 0.95, 0.224, 9.0))


def test_the_judge_decides_in_the_papers_fitness_and_nowhere_else():
    """A high mark outweighs a small lead in loss; who was not marked stands at par; other policies do not look."""
    board = board_of([[0.1], [0.12], [0.11]], expected=3)
    found = lambda policy: [one.candidate for one in policy.recommend(board)]  # noqa: E731
    before = {name: found(POLICIES[name]()) for name in POLICIES}
    assert before["paper"] == [2, 3, 1]
    board.marks[1], board.marks[3] = 9.0, 1.0
    assert found(PaperPolicy()) == [1, 2, 3]
    assert {name: found(POLICIES[name]()) for name in POLICIES if name != "paper"} == {
        name: order for name, order in before.items() if name != "paper"
    }
    part = board.part([ROOT, 1, 3])
    assert list(part.marks[1:]) == [9.0, 1.0]
    board.forget(1)
    assert found(PaperPolicy())[0] == 2


def test_the_paper_takes_more_than_ten_per_cent_for_a_leak():
    board = board_of([[0.5], [0.45], [0.1]])
    assert PaperPolicy().recommend(board)[0].candidate == 2
    assert PaperPolicy(band=None).recommend(board)[0].candidate == 1, "both are clamped: the earlier one"


def test_the_paper_trains_everybody_once():
    world = Plain(generator(0).normal(0, 0.02, 30), generator(1).normal(0, 0.02, (30, 256)))
    found = search(PaperPolicy(), world, 105, generator(2))
    shown = world.truth + world.noise[:, 0]
    assert found.spent == 30
    assert found.bias == pytest.approx(shown.max() - world.truth[shown.argmax()])


# --- halving ----------------------------------------------------------------------------------------------------------


def halved(truth, noise, budget):
    """Successive halving on one rung, written down as the textbook has it; the counts of runs at the end."""
    n = len(truth)
    alive, counts, spent = list(range(n)), np.zeros(n, int), 0
    rounds = int(np.ceil(np.log2(n)))
    for k in range(rounds):
        times = max(1, int((budget - spent) / (rounds - k) / len(alive) + 1e-9))
        if spent + times * len(alive) > budget:
            break
        counts[alive] += times
        spent += times * len(alive)
        means = np.array([truth[i] + noise[i, : counts[i]].mean() for i in range(n)])
        alive = sorted(alive, key=lambda i: -means[i])[: -(-len(alive) // 2)]
    return counts


@given(st.integers(2, 33), st.sampled_from([2.0, 3.5, 8.0]), st.integers(0, 999))
def test_halving_is_the_textbooks(size, each, seed):
    rng = generator(seed)
    world = Plain(rng.normal(0, 1, size), rng.normal(0, 1, (size, 256)))
    board, policy = Board((1.0,), each * size, size, 4.575), SuccessiveHalving()
    while not board.is_full:
        assert policy.next(board, rng) == [], "nobody is trained before all are there"
        board.enter(Traits())
    while runs := policy.next(board, rng):
        if sum(1 for _ in runs) > board.left:
            break
        for run in runs:
            board.observe(run, world.measure(run.candidate - 1, 0, run.seed))
    assert board.counts[1:, 0].tolist() == halved(world.truth, world.noise, each * size).tolist()


@given(st.integers(1, 30), st.integers(2, 9), st.integers(0, 999))
def test_a_board_with_generations_is_halved_generation_by_generation(size, generation, seed):
    """Each as the textbook halves so many candidates with their share of the budget, before the next is proposed."""
    rng = generator(seed)
    world = Plain(rng.normal(0, 1, size), rng.normal(0, 1, (size, 256)))
    board, policy = Board((1.0,), 4.0 * size, size, None, generation=generation), SuccessiveHalving()
    expected: list[int] = []
    for first in range(0, size, generation):
        mine = slice(first, min(first + generation, size))
        for _ in range(first, mine.stop):
            assert policy.next(board, rng) == []
            board.enter(Traits())
        while runs := board.payable(policy.next(board, rng)):
            for run in runs:
                board.observe(run, world.measure(run.candidate - 1, 0, run.seed))
        count = mine.stop - first
        alone = halved(world.truth[mine], world.noise[mine], 4.0 * count) if count > 1 else [4]
        expected += list(alone)
    assert board.counts[1:, 0].tolist() == expected


def test_halving_climbs_the_rungs_of_training():
    world = Plain(np.arange(16) / 100, costs=RUNGS)
    board, policy, rng = Board(RUNGS, 8.0, 16, 4.575), SuccessiveHalving(), generator()
    for _ in range(16):
        board.enter(Traits())
    while runs := policy.next(board, rng):
        for run in runs:
            board.observe(run, world.measure(run.candidate - 1, run.rung, run.seed))
    # Four rounds of 2.0 each: 16 on 1/8, 8 on 1/4, 4 on 1/2, 2 on the whole.
    assert board.counts[1:].sum(0).tolist() == [16, 8, 4, 2] and board.spent == 8.0


@given(st.integers(3, 40), st.integers(0, 999))
def test_asha_promotes_only_the_leading_third_of_a_level(size, seed):
    rng = generator(seed)
    world = Plain(rng.normal(0, 1, size), rng.normal(0, 1, (size, 256)), RUNGS)
    board, policy = Board(RUNGS, 2.0 * size, size + 1, 4.575), Asha()
    while board.entered < size or (runs := policy.next(board, rng)):
        runs = policy.next(board, rng)
        if not runs:
            board.enter(Traits())
        for run in runs:
            if run.rung:
                below = run.rung - 1 if run.seed == 0 else run.rung
                finished = np.flatnonzero(board.counts[1:, below]) + 1
                better = (board.means(below)[finished] > board.means(below)[run.candidate]).sum()
                assert better < len(finished) / 3
        for run in runs:
            board.observe(run, world.measure(run.candidate - 1, run.rung, run.seed))
    assert board.counts[1 : size + 1, 0].all(), "every newcomer had its first level"


# --- the archive of elites --------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.3, 3), st.floats(0.5, 2)), min_size=1, max_size=20))
def test_map_elites_keeps_the_best_of_every_cell(drawn):
    traits = [Traits(*fields) for fields in drawn]
    gains = generator(len(drawn)).normal(0, 0.1, len(drawn))
    board = board_of([[gain] for gain in gains], traits=traits)
    elites = MapElites.elites(board)
    worth = dict(enumerate([0.0, *gains]))
    for cell in {cell_of(t) for t in board.traits}:
        mates = [i for i in worth if cell_of(board.traits[i]) == cell]
        assert elites[cell] == max(mates, key=lambda i: worth[i])
    parents = {MapElites().parents(board, generator(seed))[0] for seed in range(200)}
    assert parents <= set(elites.values())
    (run,) = MapElites().next(board, generator()) or [None]
    assert run is None or run.candidate in elites.values()


# --- the uncertain ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Thompson, UpperBound])
def test_newcomers_are_screened_on_a_cheap_rung_first(policy):
    board = Board(RUNGS, 10.0, 4, 4.575)
    for _ in range(4):
        board.enter(Traits())
    assert policy(screen=0.25).next(board, generator()) == [Evaluation(i, 1, 0) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("costs", "rung"), [((1.0,), 0), ((0.48, 1.0), 0), ((0.24, 0.5, 1.0), 0), (RUNGS, 1), ((0.1, 0.2, 0.3, 1.0), 1)]
)
def test_the_screen_is_the_deepest_rung_that_costs_a_quarter_of_a_run(costs, rung):
    board = Board(costs, 10.0, 1, None)
    board.enter(Traits())
    assert UpperBound().next(board, generator()) == [Evaluation(1, rung, 0)]


@pytest.mark.parametrize("policy", [Thompson, UpperBound])
def test_early_spending_is_capped_while_candidates_are_to_come(policy):
    rng = generator(0)
    board, searcher = Board((1.0,), 40.0, 10, 4.575), policy(early=0.25)
    for entered in range(1, 11):
        board.enter(Traits())
        while not board.is_full and (runs := searcher.next(board, rng)):
            for run in runs:
                board.observe(run, rng.normal())
        if not board.is_full:
            allowed = entered * (1 + 0.25 * 3)
            assert allowed - 1 < board.spent < allowed + searcher.batch
    assert searcher.next(board, rng), "the rest is spent when all are there"


@pytest.mark.parametrize("policy", [Thompson, UpperBound])
def test_the_contested_are_trained_again_and_the_hopeless_are_not(policy):
    rng = generator(3)
    gains = [[1.0, 0.9, 1.1], [1.02, 0.93, 1.08], *[[-1 + 0.1 * rng.normal(), -1.0] for _ in range(20)]]
    board = board_of(gains, budget=200)
    asked = Counter(run.candidate for seed in range(50) for run in policy(batch=1).next(board, generator(seed)))
    assert set(asked) <= {1, 2}


def test_parents_of_the_uncertain_are_drawn_by_their_chance_to_be_best():
    """Brute force: the share of draws from the posterior in which each is the largest."""
    from asiarc.search.estimate import posterior

    board = board_of([[0.1, 0.3], [0.2, 0.25], [-0.2, -0.4], [0.0]])
    known = posterior(board)
    draws = known.mean + known.sd * generator(1).standard_normal((20_000, 5))
    share = np.bincount(draws.argmax(1), minlength=5) / 20_000
    parents = Counter(UpperBound().parents(board, generator(seed))[0] for seed in range(3000))
    for i in range(5):
        assert parents[i] / 3000 == pytest.approx(share[i], abs=0.035)
