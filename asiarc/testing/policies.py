"""`check_policy`: a whole search on a made board, every answer held against the protocol.

The driver is the campaign's: it enters a generation, asks `next` until nothing that can be paid is wanted, and asks for
`parents` of each proposal. Some candidates are turned away at the door, one loses its capability in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from asiarc.core.seeds import rng_of, seed_of
from asiarc.search.protocol import REFERENCES, ROOT, Board, Evaluation, Policy, Recommendation, Traits
from asiarc.testing.rules import asked, broken

GENERATIONS, SIZE = 3, 5
TURNS = 200  # in one generation, beyond which a policy does not end
RUNGS = ((1.0,), (0.25, 1.0), (0.125, 0.5, 1.0))
EACH = 2.0  # of the budget, a candidate
NOISE = 0.05


def check_policy(make: Callable[[], Policy]) -> None:
    """Search with what `make` makes, on boards with one rung and with several. Raises `BrokenRuleError`.

    The rules: `next` names entered, fit candidates, rungs that there are and each candidate's next seeds, and comes to
    an end; every candidate that was admitted is looked at; `parents` gives start_from or a candidate of the board, and
    up to four others, each once; `recommend` ranks fit candidates that were trained, each once, with finite gains. The
    board stays as it is, and the same board and generator give the same answer, from a new object, and whatever global
    generators say.
    """
    for costs in RUNGS:
        board = _Search(make, costs).run()
        _check_recommended(make, board)


class _Search:
    """One search; what a candidate is worth follows from its number."""

    def __init__(self, make: Callable[[], Policy], costs: tuple[float, ...]) -> None:
        self.make, self.costs, expected = make, costs, GENERATIONS * SIZE
        self.board = Board(costs, EACH * expected, expected, reference_loss=2.5, generation=SIZE)
        self.questions = 0

    def run(self) -> Board:
        for _ in range(GENERATIONS):
            self.propose()
            self.train()
        unseen = [int(i) for i in self.board.fit_candidates if not self.board.counts[i].any()]
        if unseen:
            broken(self.make(), "every admitted candidate is looked at", f"candidates {unseen} were never trained")
        return self.board

    def propose(self) -> None:
        for number in range(SIZE):
            self.check_parents(self.ask("parents"))
            is_admitted = number != 1
            mechanism = ("delta", "gated_delta")[number % 2]
            self.board.enter(Traits(mechanism, 1.0 + number / 4, 1.0) if is_admitted else None)

    def train(self) -> None:
        for turn in range(TURNS):
            wanted = self.check_wanted(self.ask("next"))
            paid = self.board.payable(wanted) or [one for one in wanted if not self.board.counts[one.candidate].any()]
            if not paid:
                return
            for one in paid:
                self.board.observe(one, self.gain(one))
            if turn == 0:  # the first that was looked at has lost a capability
                self.board.fit[paid[0].candidate] = False
        broken(
            self.make(), "a search comes to an end", f"next still wants to train after {TURNS} turns of a generation"
        )

    def gain(self, one: Evaluation) -> float:
        worth = rng_of("testing", one.candidate).gauss(0, 0.1)
        return worth + rng_of("testing", one.candidate, one.rung, one.seed).gauss(0, NOISE)

    def ask(self, question: str) -> Any:
        """An answer, asked twice: of two objects, each with the same generator and a board of its own."""
        self.questions += 1
        answers = []
        for number in range(2):
            policy, board = self.make(), self.shown(question)
            rng, before = np.random.default_rng(seed_of("testing", self.questions)), _content(board)
            answers.append(asked(partial(getattr(policy, question), board, rng), number))
            if _content(board) != before:
                broken(policy, "a board is read only", f"{question} changed it: the driver notes what was observed")
        if answers[0] != answers[1]:
            broken(self.make(), "the same board and generator give the same answer", f"{question} gave two: {answers}")
        return answers[0]

    def shown(self, question: str) -> Board:
        """A copy of the board; for `parents` of those alone that were trained, as a campaign has it."""
        scored = [int(i) for i in self.board.candidates if self.board.counts[i].any()]
        return self.board.part([ROOT, *scored]) if question == "parents" else deepcopy(self.board)

    def check_wanted(self, wanted: Any) -> list[Evaluation]:
        rule, board = "next names evaluations that can be run", self.board
        if not isinstance(wanted, list) or not all(isinstance(one, Evaluation) for one in wanted):
            broken(self.make(), rule, f"it answered {wanted!r}, not a list of Evaluation")
        counts = board.counts.copy()
        for one in wanted:
            if not all(isinstance(value, (int, np.integer)) for value in (one.candidate, one.rung, one.seed)):
                broken(self.make(), rule, f"{one} is not made of whole numbers")
            if not 0 < one.candidate <= board.entered:
                broken(self.make(), rule, f"{one}: candidates are 1 to {board.entered} ({ROOT} is start_from)")
            if not board.fit[one.candidate]:
                broken(self.make(), rule, f"{one}: candidate {one.candidate} is not fit, and never trained again")
            if not 0 <= one.rung <= board.top:
                broken(self.make(), rule, f"{one}: rungs are 0 to {board.top}")
            if one.seed != counts[one.candidate, one.rung]:
                broken(self.make(), rule, f"{one}: the next seed there is {counts[one.candidate, one.rung]}")
            counts[one.candidate, one.rung] += 1
        return wanted

    def check_parents(self, found: Any) -> None:
        rule, entered = "parents are start_from or candidates", self.shown("parents").entered
        if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], list):
            broken(self.make(), rule, f"parents answered {found!r}, not (parent, [references])")
        parent, references = found
        for one in (parent, *references):
            if not isinstance(one, (int, np.integer)) or not 0 <= one <= entered:
                broken(self.make(), rule, f"{one!r} is nobody: {ROOT} (start_from) to {entered} are")
        if len(references) > REFERENCES or len(set(references)) < len(references) or parent in references:
            broken(self.make(), rule, f"references are up to {REFERENCES} others, each once, not {references}")


def _check_recommended(make: Callable[[], Policy], board: Board) -> None:
    rule, before = "what is recommended was trained, each once", _content(board)
    found = make().recommend(board)
    if _content(board) != before:
        broken(make(), "a board is read only", "recommend changed it")
    if not isinstance(found, list) or not all(isinstance(one, Recommendation) for one in found):
        broken(make(), rule, f"recommend answered {found!r}, not a list of Recommendation")
    named = [one.candidate for one in found]
    if not named or len(set(named)) < len(named):
        broken(make(), rule, f"it named {named}")
    for one in found:
        if (
            not 0 < one.candidate <= board.entered
            or not board.fit[one.candidate]
            or not board.counts[one.candidate].any()
        ):
            broken(make(), rule, f"candidate {one.candidate} is not fit, was never trained, or is start_from")
        if not isfinite(one.estimate):
            broken(make(), "a gain is a number", f"candidate {one.candidate} is worth {one.estimate}")
    if asked(lambda: make().recommend(board), 1) != found:
        broken(make(), "the same board and generator give the same answer", "recommend gave two")


def _content(board: Board) -> tuple[Any, ...]:
    return tuple(_fields(board))


def _fields(board: Board) -> Iterator[Any]:
    for value in vars(board).values():
        yield value.tobytes() if isinstance(value, np.ndarray) else list(value) if isinstance(value, list) else value
