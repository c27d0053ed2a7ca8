"""A run's proposals on their way: the draft, its row in the archive and back, and what a later one may build on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from asiarc.archive.pool import Member, ranked
from asiarc.engineer.candidate import content_address
from asiarc.errors import CandidateError
from asiarc.identity import digest
from asiarc.outcome import SCORED, Outcome
from asiarc.researcher.protocol import Earlier, Failure, Origin, Proposal

NOT_MENDED = ("novelty", "reply")  # what these turn away was sent back by the researcher itself
SIBLINGS = 3  # the strongest other children of the parent that a proposal is shown
KNOWN = Outcome("rejected", "it is a baseline, or was proposed before in this run", "novelty")


@dataclass(frozen=True)
class Draft:
    """A proposal with its place in the run."""

    number: int
    generation: int
    address: str
    proposal: Proposal
    is_new: bool  # neither a baseline nor proposed before in this run

    @property
    def ending(self) -> Outcome | None:
        """How it ended before any gate, or None where the gates decide."""
        failure = self.proposal.failure
        if failure is not None:
            return Outcome("rejected", failure.reason, failure.gate)
        return None if self.is_new else KNOWN


@dataclass(frozen=True)
class Past:
    """What a proposal may build on: the rows of earlier proposals, and how they ended, as the archive gives them."""

    proposals: Sequence[dict[str, Any]]
    results: Sequence[dict[str, Any]]


def address_of(source: str) -> str:
    """A candidate's content address; text that is no Python has one too: the gates reject it, with the line."""
    try:
        return content_address(source)
    except CandidateError:
        return digest(source)


def proposal_row(draft: Draft) -> dict[str, Any]:
    """A proposal as the archive keeps it."""
    p = draft.proposal
    return {
        "address": draft.address,
        "name": p.name,
        "motivation": p.motivation,
        "parents": list(p.parents),
        "origins": [asdict(origin) for origin in p.origins],
        "predicted": p.predicted,
    }


def row_of(draft: Draft) -> dict[str, Any]:
    """A proposal of this generation as one of the past."""
    return {"number": draft.number, **proposal_row(draft)}


def result_of(draft: Draft) -> dict[str, Any]:
    """The result of a proposal that the researcher itself gave up."""
    row = {"number": draft.number, "address": draft.address, "gain": None, "scores": {}}
    return row | {"outcome": draft.ending}


def stored_proposal(row: dict[str, Any], result: dict[str, Any] | None) -> Proposal:
    """A proposal from the archive, with what the researcher itself found wrong with it."""
    failure: Failure | None = None
    ended: Outcome | None = result["outcome"] if result else None
    if ended is not None and ended.gate in NOT_MENDED and ended != KNOWN:
        failure = Failure(address=row["address"], gate=ended.gate, reason=ended.reason)
    return Proposal(
        source=row["source"],
        name=row["name"],
        motivation=row["motivation"],
        origins=tuple(Origin(**origin) for origin in row["origins"]),
        parents=tuple(row["parents"]),
        genome=row["genome"],
        predicted=row["predicted"],
        failure=failure,
    )


def siblings_of(
    parent: Member, pool: Sequence[Member], proposals: Sequence[dict[str, Any]], shown: set[str]
) -> list[Member]:
    """The strongest other children of a parent that are not shown as references already."""
    children = {row["number"] for row in proposals if row["parents"][:1] == [parent.address]}
    return [m for m in ranked(pool) if m.number in children and m.address not in shown][:SIBLINGS]


def failures(past: Past) -> tuple[Failure, ...]:
    """The last candidates that were turned away or broke, with the reasons."""
    names = {row["number"]: row["name"] for row in past.proposals}
    failed = [row for row in past.results if row["outcome"] != SCORED]
    return tuple(
        Failure(
            address=row["address"],
            gate=row["outcome"].gate or row["outcome"].kind,
            reason=row["outcome"].reason,
            name=names[row["number"]],
        )
        for row in failed[-8:]
    )


def earlier(proposals: Sequence[dict[str, Any]]) -> tuple[Earlier, ...]:
    """What was proposed before, for the check of motivations."""
    return tuple(
        Earlier(address=row["address"], name=row["name"], motivation=row["motivation"])
        for row in proposals
        if row["motivation"]
    )
