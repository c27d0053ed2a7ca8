"""The candidate pool of a campaign: its members, their order, and the parents that policies of `asiarc.search` choose.

A member's gain is paired against the campaign's `start_from` at the rung it reached. How much a member is trained is
the stage plan's to say (`asiarc.protocol`): every generation is halved, whichever policy chooses its parents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from asiarc.search.policies import PaperPolicy, RandomSearch, SuccessiveHalving, Thompson
from asiarc.search.protocol import Board, Policy


@dataclass(frozen=True)
class Member:
    """A scored candidate of the pool. `number` counts proposals; the root (`start_from`) is -1."""

    address: str
    number: int
    gain: float
    rung: int
    holds: bool  # passed the campaign's capability checks

    @property
    def rank_key(self) -> tuple[bool, int, float, int]:
        """Smallest first: capability held, then the deepest rung, then the larger gain, then the earlier proposal."""
        return (not self.holds, -self.rung, -self.gain, self.number)


def ranked(members: Sequence[Member]) -> list[Member]:
    """Members from best to worst."""
    return sorted(members, key=lambda member: member.rank_key)


class Parents:
    """A policy of `asiarc.search` as a campaign uses it: it chooses parents and references among members.

    Each member counts as evaluated once, on its rung; `flat`: on the last rung and fit, whatever it is. The board has
    no loss, so the paper's fitness orders as the gain does, and its filter on the loss is left out.
    """

    def __init__(self, policy: Policy, *, flat: bool = False) -> None:
        self.policy, self.flat = policy, flat

    def sample(self, pool: Sequence[Member], rng: Random) -> tuple[Member, list[Member]]:
        """The parent, and up to four references, from a pool that is never empty (the root is always in it)."""
        members = sorted(pool, key=lambda member: member.number)
        draws = np.random.default_rng(rng.getrandbits(64))
        parent, references = self.policy.parents(self._board(members), draws)
        return members[parent], [members[i] for i in references]

    def _board(self, members: Sequence[Member]) -> Board:
        top = max(member.rung for member in members)
        others = members[1:]
        rungs = [top if self.flat else member.rung for member in others]
        gains = np.array([member.gain for member in others])
        costs = tuple(2.0 ** (rung - top) for rung in range(top + 1))
        board = Board(costs, float("inf"), len(others), reference_loss=None)
        return board.fill(rungs, gains, [self.flat or member.holds for member in others])


POLICY_CLASSES: dict[str, Callable[[], Parents]] = {
    "halving": lambda: Parents(SuccessiveHalving()),
    "thompson": lambda: Parents(Thompson(screen=99)),  # members of the last rung only
    "paper": lambda: Parents(PaperPolicy(), flat=True),
    "random": lambda: Parents(RandomSearch(), flat=True),
}
