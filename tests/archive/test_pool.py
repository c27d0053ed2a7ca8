"""Who becomes a parent: policies over a campaign's members, against plain re-implementations of what they say."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.archive.pool import POLICY_CLASSES, Member, ranked
from asiarc.spec import POLICIES

ROOT = Member("root", -1, 0.0, 2, holds=True)
gains = st.floats(-1, 1).map(lambda gain: round(gain, 2))  # ties are common


@st.composite
def pools(draw, max_size=40):
    drawn = draw(st.lists(st.tuples(gains, st.integers(0, 2), st.booleans()), max_size=max_size))
    return [ROOT, *(Member(f"m{i}", i, *fields) for i, fields in enumerate(drawn))]


def population(size, *, failing=lambda _: False):
    """A root and candidates of random worth; numbers of those that failed are missing."""
    rng = Random(size)
    return [
        ROOT,
        *(Member(f"m{i}", i, rng.gauss(0, 1), 2, holds=True) for i in range(size) if not failing(i)),
    ]


def test_every_policy_that_can_be_declared_exists():
    assert set(POLICY_CLASSES) == set(POLICIES)


@given(pools())
def test_ranks_put_what_holds_first_then_the_deepest_then_the_best_then_the_oldest(pool):
    order = ranked(pool)
    assert sorted(m.number for m in order) == sorted(m.number for m in pool)
    for better, worse in pairwise(order):
        if better.holds != worse.holds:
            assert better.holds
        elif better.rung != worse.rung:
            assert better.rung > worse.rung
        elif better.gain != worse.gain:
            assert better.gain > worse.gain
        else:
            assert better.number < worse.number


@given(pools(), st.sampled_from(sorted(POLICY_CLASSES)), st.integers(0, 2**63))
def test_a_sample_is_a_parent_and_up_to_four_others_and_follows_from_its_seed(pool, name, seed):
    parent, references = POLICY_CLASSES[name]().sample(pool, Random(seed))
    assert parent in pool and all(member in pool for member in references)
    assert parent not in references and len(set(references)) == len(references) <= 4
    assert POLICY_CLASSES[name]().sample(list(pool), Random(seed)) == (parent, references)


def test_halving_draws_parents_from_the_best_quarter_by_rank():
    pool = population(39)
    order = ranked(pool)
    draws = [POLICY_CLASSES["halving"]().sample(pool, Random(seed)) for seed in range(2000)]
    counts = Counter(parent for parent, _ in draws)
    assert set(counts) == set(order[:10])
    total = sum(1 / rank for rank in range(1, 11))
    for rank, member in enumerate(order[:10], 1):
        assert counts[member] == pytest.approx(2000 / rank / total, rel=0.3)
    assert {reference for _, references in draws for reference in references} == set(order[:20])
    assert all(len(references) == 4 for _, references in draws)


@given(pools(max_size=12))
def test_halving_chooses_among_at_least_three(pool):
    elite = set(ranked(pool)[: max(3, len(pool) // 4)])
    assert {POLICY_CLASSES["halving"]().sample(pool, Random(seed))[0] for seed in range(8)} <= elite


def paper_pool(pool):
    """The paper's pool grown one scored candidate at a time: the best 50, renewed at 200, 250, 300, ..."""
    candidates, renewed = [ROOT], [ROOT]
    for count, member in enumerate(sorted(pool[1:], key=lambda m: m.number), 1):
        candidates.append(member)
        if count >= 200 and count % 50 == 0:
            renewed = sorted(candidates, key=lambda m: -m.gain)[:50]
    return renewed


@pytest.mark.parametrize("size", [0, 1, 199, 200, 249, 250, 263, 500])
@pytest.mark.parametrize("share", [None, 3])
def test_the_papers_policy_is_the_papers(size, share):
    """Parents are ranks 1 to 10, references ranks 11 to 50; failed proposals (every third) are no insertions."""
    pool = population(
        size if share is None else size * 3 // 2, failing=lambda i: share is not None and i % 3 == 2
    )
    best = paper_pool(pool)
    draws = [POLICY_CLASSES["paper"]().sample(pool, Random(seed)) for seed in range(600)]
    parents = Counter(parent for parent, _ in draws)
    references = Counter(reference for _, references in draws for reference in references)
    assert set(parents) == set(best[:10]) and set(references) == set(best[10:])
    if len(best) > 1:
        assert len(best) == 50 and all(len(chosen) == 4 for _, chosen in draws)
        assert max(parents.values()) < 2 * min(parents.values()), "parents are uniform"
    else:
        assert best == [ROOT] and size < 200, "a cold start has nobody but the root"


def test_the_papers_pool_is_still_between_two_renewals():
    """A newcomer, however good, waits for the next renewal."""
    pool = population(260)
    star = Member("star", 260, 99.0, 2, holds=True)
    assert all(POLICY_CLASSES["paper"]().sample([*pool, star], Random(s))[0] is not star for s in range(50))
    later = [*pool, star, *(Member(f"n{i}", i, -9.0, 2, holds=True) for i in range(261, 300))]
    assert any(POLICY_CLASSES["paper"]().sample(later, Random(s))[0] is star for s in range(50))


def test_thompson_draws_parents_from_the_last_rung_by_their_chance_to_be_best():
    """Many runs of close gains share the chances; a clear leader is the parent of nearly all; the shallow never are."""
    close = [ROOT, *(Member(f"m{i}", i, 0.1 + 0.001 * i, 2, holds=True) for i in range(4))]
    shallow = [Member(f"s{i}", 10 + i, 9.0, 0, holds=True) for i in range(9)]
    lost = [Member("lost", 30, 9.0, 2, holds=False)]
    policy = POLICY_CLASSES["thompson"]()
    parents = Counter(
        policy.sample([*close, *shallow, *lost], Random(seed))[0].address for seed in range(400)
    )
    assert set(parents) <= {m.address for m in close} and len(parents) >= 4
    leader = Member("leader", 40, 5.0, 2, holds=True)
    parents = Counter(policy.sample([*close, leader], Random(seed))[0].address for seed in range(400))
    assert parents.most_common(1)[0][0] == "leader"


def test_random_parents_are_uniform():
    pool = population(9)
    parents = Counter(POLICY_CLASSES["random"]().sample(pool, Random(seed))[0] for seed in range(4000))
    assert set(parents) == set(pool) and max(parents.values()) < 1.3 * min(parents.values())
