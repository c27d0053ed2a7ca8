"""The suites that ship: what we ship passes them, and each planted fault is told by the rule that it breaks."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from asiarc import task
from asiarc.core.candidate import content_address
from asiarc.core.proposal import Origin, Proposal
from asiarc.core.seeds import rng_of
from asiarc.researcher.grammar import GrammarResearcher, RandomResearcher
from asiarc.search.policies import POLICIES
from asiarc.search.protocol import ROOT, Board, Evaluation, Recommendation
from asiarc.testing import BrokenRuleError, check_policy, check_researcher, check_task, contexts

# --- researchers ------------------------------------------------------------------------------------------------------

SOURCE = """\
\"\"\"A filter of its own: {number}.\"\"\"
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.size = {number}

    def forward(self, x_BTD, state=None):
        return x_BTD, state
"""


class Mine:
    """A researcher that holds to every rule; `spoil` may change an answer."""

    spoil: Callable = staticmethod(lambda proposal, context: proposal)

    def propose(self, context):
        rng = rng_of(context.seed, "mine")
        while content_address(source := SOURCE.format(number=rng.randrange(10**6))) in context.known:
            pass
        origin = Origin(element="filter", kind="original")
        proposal = Proposal(
            source=source, name="mine", motivation="Why not?", origins=(origin,), parents=(context.parent.address,),
            genome={"size": 1}, predicted="text up",
        )  # fmt: skip
        return self.spoil(proposal, context)


class Mending(Mine):
    def revise(self, proposal, failure, number, version):
        return replace(proposal, source=proposal.source + f"# {failure.gate} {version}\n")


def spoilt(**changes):
    """Proposals with some fields changed, each by a function of the context."""
    return lambda proposal, context: replace(proposal, **{name: of(context) for name, of in changes.items()})


def counting(proposal, context, calls=[]):  # noqa: B006 - what it is there for
    calls.append(1)
    return replace(proposal, name=f"mine {len(calls)}")


def meddling(proposal, context):
    context.parent.genome["memory"] = "mine"
    return proposal


class Forgetful(Mine):
    asked = 0

    def propose(self, context):
        self.asked += 1
        return replace(super().propose(context), predicted=f"text up, {self.asked}")


class Repeating(Mine):
    def propose(self, context):
        return replace(super().propose(context), source=SOURCE.format(number=1))


class Stubborn(Mending):
    def revise(self, proposal, failure, number, version):
        return proposal


class Lucky(Mending):
    def revise(self, proposal, failure, number, version):
        return replace(proposal, source=proposal.source + f"# {random.random()}\n")


WRONG_PROPOSALS = {
    "it answers with a Proposal.*NoneType": lambda proposal, context: None,
    "answers with a Proposal.*SimpleNamespace": lambda p, context: SimpleNamespace(source=p.source, name=p.name),
    "plain data.*cannot be stored": spoilt(genome=lambda _: {"size": object()}),
    "plain data.*Expected `tuple": spoilt(parents=lambda context: [context.parent.address]),
    "plain data.*reads back as another": spoilt(genome=lambda _: {"sizes": (1, 2)}),
    "says what and why.*motivation is empty": spoilt(motivation=lambda _: " "),
    "says what and why.*several lines": spoilt(name=lambda _: "one\ntwo"),
    "defines a mixer.*not Python": spoilt(source=lambda _: "class Mixer("),
    "defines a mixer.*0 classes": spoilt(source=lambda _: "class Blender:\n    pass\n"),
    "defines a mixer.*no forward": spoilt(source=lambda _: "class Mixer:\n    def __init__(self): ...\n"),
    "a parent was shown.*ffff": spoilt(parents=lambda _: ("f" * 16,)),
    "a parent was shown.*twice": spoilt(parents=lambda context: (context.parent.address,) * 2),
    "has an origin.*empty": spoilt(origins=lambda _: ()),
    "plain data.*borrowed": spoilt(origins=lambda _: (Origin(element="filter", kind="borrowed"),)),
    "an origin was shown.*'hyena'": spoilt(
        origins=lambda _: (Origin(element="filter", kind="cognition", reference="hyena"),)
    ),
    "context is read only": meddling,
    "the same context gives the same proposal": counting,
    "gives the same proposal.*ask no clock": spoilt(predicted=lambda _: f"text up by {random.random()}"),
}
WRONG_RESEARCHERS = {
    "the same context gives the same proposal.*keep nothing": Forgetful,
    "what is known is not proposed again": Repeating,
    "what is mended is changed": Stubborn,
    "the same failure gives the same mending": Lucky,
}


@pytest.mark.parametrize("make", [GrammarResearcher, RandomResearcher, Mine, Mending])
def test_a_researcher_that_holds_to_the_rules(make):
    check_researcher(make)


@pytest.mark.parametrize("rule", WRONG_PROPOSALS)
def test_a_wrong_proposal_is_told_by_its_rule(rule):
    wrong = type("Wrong", (Mine,), {"spoil": staticmethod(WRONG_PROPOSALS[rule])})
    with pytest.raises(BrokenRuleError, match=rf"(?s)Wrong breaks the rule .*{rule}"):
        check_researcher(wrong)


@pytest.mark.parametrize("rule", WRONG_RESEARCHERS)
def test_a_wrong_researcher_is_told_by_its_rule(rule):
    with pytest.raises(BrokenRuleError, match=rule):
        check_researcher(WRONG_RESEARCHERS[rule])


def test_the_global_generators_are_left_as_they_were():
    random.seed(3)
    expected = random.random()
    random.seed(3)
    check_researcher(Mine)
    assert random.random() == expected


def test_the_contexts_are_the_same_for_everyone():
    assert list(contexts()) == list(contexts()) and len({context.seed for context in contexts()}) == 3


# --- policies ---------------------------------------------------------------------------------------------------------


class Plain:
    """A policy that holds to every rule: everybody once, the best first."""

    def next(self, board, rng):
        return [one for i in board.fit_candidates if not board.counts[i].any() for one in board.evaluate(i)]

    def parents(self, board, rng):
        order = board.ranking()
        return order[0], [int(i) for i in rng.permutation(order[1:])[:2]]

    def recommend(self, board):
        means = board.means()
        return [
            Recommendation(i, float(means[i]))
            for i in board.ranking()
            if i != ROOT and means[i] == means[i] and board.fit[i]
        ]


class Named(Plain):
    """Wants one more evaluation than `Plain`, made of the board by `extra`."""

    extra: Callable

    def next(self, board, rng):
        return super().next(board, rng) + ([type(self).extra(board)] if board.counts.any() else [])


def named(extra):
    return type("Wrong", (Named,), {"extra": staticmethod(extra)})


def parental(found):
    return type("Wrong", (Plain,), {"parents": lambda self, board, rng: found(board)})


def recommending(found):
    return type("Wrong", (Plain,), {"recommend": lambda self, board: found(Plain.recommend(self, board))})


def wanting(found):
    return type("Wrong", (Plain,), {"next": lambda self, board, rng: found(Plain.next(self, board, rng), board)})


def noting(self, board, rng):
    for one in Plain.next(self, board, rng):
        board.observe(one, 0.0)
    return []


def unfit(board: Board) -> Evaluation:
    out = next(i for i in map(int, board.candidates) if not board.fit[i])
    return Evaluation(out, board.top, int(board.counts[out, board.top]))


def endless(found, board):
    return found or [
        Evaluation(i, board.top, int(board.counts[i, board.top])) for i in map(int, board.fit_candidates[:0])
    ]


WRONG_POLICIES = {
    r"\), not a list of Evaluation": wanting(lambda found, board: tuple(found)),
    "answered .1, 3, 4, 5., not a list of Evaluation": wanting(lambda found, board: [one.candidate for one in found]),
    r"candidates are 1 to \d+ \(0 is start_from\)": named(lambda board: Evaluation(ROOT, board.top, 0)),
    "rungs are 0 to 0": named(lambda board: Evaluation(int(board.fit_candidates[0]), board.top + 1, 0)),
    "the next seed there is 1": named(
        lambda board: Evaluation(
            next(i for i in map(int, board.fit_candidates) if board.counts[i, board.top]), board.top, 0
        )
    ),
    "is not fit": named(unfit),
    "whole numbers": wanting(lambda found, board: [replace(one, candidate=float(one.candidate)) for one in found]),
    "every admitted candidate is looked at": wanting(lambda found, board: found[:1] if not board.counts.any() else []),
    "a board is read only.*next": type("Wrong", (Plain,), {"next": noting}),
    "same answer.*next gave two": wanting(
        lambda found, board: sorted(found, key=lambda _: random.random()) if len(found) > 1 else found
    ),
    "same answer.*parents gave two": parental(lambda board: (int(np.random.randint(1 + board.entered)), [])),
    "parents answered 0": parental(lambda board: ROOT),
    "99 is nobody": parental(lambda board: (99, [])),
    "each once": parental(lambda board: (ROOT, [ROOT])),
    "up to 4 others": parental(lambda board: (ROOT, [1, 1] if board.entered else [])),
    "recommend answered": recommending(lambda found: [one.candidate for one in found]),
    r"it named \[\]": recommending(lambda found: []),
    "it named .*": recommending(lambda found: found + found[:1]),
    "is start_from": recommending(lambda found: [*found, Recommendation(ROOT, 0.0)]),
    "a gain is a number": recommending(lambda found: [replace(found[0], estimate=float("nan")), *found[1:]]),
}


@pytest.mark.parametrize("name", [*sorted(POLICIES), "plain"])
def test_a_policy_that_holds_to_the_rules(name):
    check_policy(POLICIES.get(name, Plain))


@pytest.mark.parametrize("rule", WRONG_POLICIES)
def test_a_wrong_policy_is_told_by_its_rule(rule):
    with pytest.raises(BrokenRuleError, match=rf"(?s)Wrong breaks the rule .*{rule}"):
        check_policy(WRONG_POLICIES[rule])


def test_a_policy_that_does_not_end(monkeypatch):
    monkeypatch.setattr("asiarc.testing.policies.EACH", 1e9)
    wrong = wanting(lambda found, board: found or board.evaluate(board.fit_candidates[0]))
    with pytest.raises(BrokenRuleError, match="comes to an end"):
        check_policy(wrong)


# --- tasks: the rules one by one are in tests/tasks/test_own.py -------------------------------------------------------


def bits(rng, count, length, shift):
    text_BT = 48 + rng.integers(2, size=(count, length))
    inputs_BT = np.concatenate([np.zeros((count, 1), dtype=np.int64), text_BT[:, :-1]], axis=1)
    return inputs_BT, np.where(np.arange(length) < shift, -100, np.roll(text_BT, shift, axis=1))


@task(chance=0.5, choices="01")
def delayed(rng, count, *, length=40, shift=5):
    """Every bit again, five later."""
    return bits(rng, count, length, shift)


@task(chance=0.5, choices="01", levels={"base": {}, "short": {"length": 8}})
def short(rng, count, *, length=40):
    """A level that is learnt by heart."""
    return bits(rng, count, length, 2)


@task(chance=0.5, choices="01")
def random_beside(rng, count):
    """Drawn elsewhere."""
    return bits(np.random, count, 40, 5) if False else bits(np.random.default_rng(random.randrange(9)), count, 40, 5)


@task(chance=0.2, choices="01")
def modest(rng, count):
    """Chance is said to be less than it is."""
    return bits(rng, count, 40, 5)


@task(chance=0.5, choices="01")
def told(rng, count):
    """What is due is what is read."""
    inputs_BT, _ = bits(rng, count, 40, 0)
    return inputs_BT, np.where(np.arange(40) < 1, -100, inputs_BT)


@task(chance=0.5, choices="01")
def broken_off(rng, count):
    """Raises."""
    return bits(rng, count, 40, 5)[2]


@task(chance=0.5, choices="ab")
def elsewhere(rng, count):
    """Answers that are no choices."""
    return bits(rng, count, 40, 5)


WRONG_TASKS = {
    "short at level 'short': .*by heart": short,
    "the same seed gives other rows": random_beside,
    "more than chance=0.2 says": modest,
    "read already": told,
    "broken_off raises IndexError": broken_off,
    "'0', which is none of choices='ab'": elsewhere,
    "a task is declared": bits,
}


def test_a_task_that_holds_to_the_rules():
    check_task(delayed)


@pytest.mark.parametrize("rule", WRONG_TASKS)
def test_a_wrong_task_is_told_by_its_rule(rule):
    with pytest.raises(BrokenRuleError, match=rule):
        check_task(WRONG_TASKS[rule])
