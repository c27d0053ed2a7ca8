"""The candidate pool: who becomes a parent, and who is shown beside it.

A member's gain is paired against the campaign's `start_from` at the rung it reached. Two policies choose from the
pool; both draw from a generator that the caller seeds by address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

REFERENCES = 4


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


class Policy(Protocol):
    """Chooses a parent and references from a pool that is never empty (the root is always in it)."""

    def sample(self, pool: Sequence[Member], rng: Random) -> tuple[Member, list[Member]]:
        """The parent, and up to four references."""
        ...


class HalvingPolicy:
    """The default: parents are drawn among the best quarter, weighted by rank, from members that were re-evaluated on
    the deepest rung, so one lucky run does not found a dynasty; references are drawn from the other leading members."""

    def sample(self, pool: Sequence[Member], rng: Random) -> tuple[Member, list[Member]]:
        """See `Policy`."""
        order = ranked(pool)
        elite = order[: max(3, len(order) // 4)]
        parent = rng.choices(elite, weights=[1 / (place + 1) for place in range(len(elite))])[0]
        others = [member for member in order[: 5 * REFERENCES] if member is not parent]
        return parent, rng.sample(others, min(REFERENCES, len(others)))


class PaperPolicy:
    """ASI-Arch's policy (arXiv 2507.18074, sections 3.2 and 4.1): a pool of the best 50, refreshed after each 50
    scored candidates and not at all for the first 200; the parent is uniform over ranks 1 to 10, references over ranks
    11 to 50."""

    def __init__(self, capacity: int = 50, refresh: int = 50, cold_start: int = 200) -> None:
        self.capacity, self.refresh, self.cold_start = capacity, refresh, cold_start

    def sample(self, pool: Sequence[Member], rng: Random) -> tuple[Member, list[Member]]:
        """See `Policy`."""
        root, *inserted = sorted(pool, key=lambda member: member.number)
        seen = len(inserted) // self.refresh * self.refresh if len(inserted) >= self.cold_start else 0
        best = sorted([root, *inserted[:seen]], key=lambda m: (-m.gain, m.number))[: self.capacity]
        return rng.choice(best[:10]), rng.sample(best[10:], min(REFERENCES, len(best[10:])))


POLICY_CLASSES: dict[str, type[HalvingPolicy] | type[PaperPolicy]] = {
    "halving": HalvingPolicy,
    "paper": PaperPolicy,
}
