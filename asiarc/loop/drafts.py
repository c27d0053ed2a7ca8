"""A run's proposals on their way: the draft, its versions, and how it ended, kept in the archive as they come.

A proposal has one number and, where its researcher mends it, several versions: the last one stands in its place, those
before it are kept beside it. A run that goes on walks through them again: it begins with the first, and each is mended
as it was. What is asked for is asked by number, so that a run may hold a million.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from asiarc.archive.annex import Annex
from asiarc.archive.cells import load_cell
from asiarc.archive.store import Archive
from asiarc.core.candidate import address_of
from asiarc.core.errors import ExecutionError
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.proposal import Failure, Origin, Proposal, Reviser, as_json, from_json
from asiarc.loop.trials import Standing

NOT_MENDED = ("novelty", "reply")  # what these turn away was sent back by the researcher itself
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
        "author": p.author,
    }


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
        author=row["author"],
    )


def shown_case(finding: Mapping[str, Any], source: str) -> list[str]:
    """A gate's smallest failing case in lines: what it was, what was expected, and the line of the source."""
    case = dict(finding.get("example") or {})
    number, lines = case.pop("line", None), source.split("\n")
    told = [f"smallest case: {', '.join(f'{name}={value}' for name, value in case.items())}"] if case else []
    told += [f"{name}: {finding[name]}" for name in ("expected", "actual") if finding.get(name)]
    is_there = isinstance(number, int) and 0 < number <= len(lines)
    return [*told, *([f"line {number}: {lines[number - 1].strip()}"] if is_there else [])]


def gate_told(archive: Archive, address: str, source: str, outcome: Outcome) -> list[str]:
    """The reason that turned a candidate away, with what its gate found: the smallest case, and the line."""
    for row in archive.rows("SELECT findings FROM admissions WHERE address = ?", address):
        for finding in load_cell(row["findings"]):
            if (finding["gate"], finding["reason"]) == (outcome.gate, outcome.reason):
                return [outcome.reason, *shown_case(finding, source)]
    return [outcome.reason]


class Drafts:
    """The drafts of one run in its archive. Without `only_new`, what was proposed before counts as new."""

    def __init__(self, archive: Archive, run: str, baselines: set[str], *, only_new: bool) -> None:
        self.archive, self.run, self.annex = archive, run, Annex(archive)
        self.baselines, self.only_new = baselines, only_new
        self._mended: dict[int, Draft] = {}

    def is_known(self, address: str, before: int | None = None) -> bool:
        """Whether it is a baseline, or was proposed in this run (before a number), if only as a version."""
        return (
            address in self.baselines
            or self.archive.is_proposed(self.run, address, before)
            or self.annex.is_version(self.run, address, before)
        )

    def of(self, number: int, generation: int, proposal: Proposal) -> Draft:
        """A proposal in its place."""
        address = address_of(proposal.source)
        is_new = not self.only_new or not self.is_known(address, number)
        return Draft(number, generation, address, proposal, is_new)

    def first(self, number: int) -> Draft | None:
        """The draft of a number as it was proposed, or None where nobody has proposed it yet."""
        self._mended.pop(number, None)
        versions = self._versions(number)
        return versions[0] if versions else None

    def current(self, number: int) -> Draft:
        """The version that stands for a number now."""
        draft = self._mended.get(number) or self.first(number)
        assert draft is not None, number
        return draft

    def _versions(self, number: int) -> list[Draft]:
        """The versions that stood for a number, in order; not those that could not be used."""
        row = self.archive.proposal(self.run, number)
        if row is None:
            return []
        replaced = [
            from_json(Proposal, version["proposal"])
            for version in self.annex.versions(self.run, number)
            if version["outcome"].gate not in NOT_MENDED
        ]
        last = stored_proposal(row, self.archive.result(self.run, number))
        return [self.of(number, row["generation"], proposal) for proposal in (*replaced, last)]

    def store(self, draft: Draft) -> None:
        """Keep a new draft, and how it ended where no gate has to say so."""
        p = draft.proposal
        with self.archive.transaction():
            self.archive.add_candidate(draft.address, p.name, p.source, p.motivation, p.genome)
            self.archive.add_proposal(self.run, draft.number, draft.generation, proposal_row(draft))
            if p.failure is not None and draft.ending is not None:
                self._end(draft, draft.ending)

    def score(self, draft: Draft, rung: int, standing: Standing) -> None:
        """Keep what a candidate has shown on the deepest rung that it was trained on."""
        self.archive.add_result(
            self.run, draft.number, draft.address, SCORED,
            rung=rung, gain=standing.gain, scores=standing.scores, holds=standing.holds,
        )  # fmt: skip

    def give_up(self, draft: Draft, outcome: Outcome) -> None:
        """Record why a candidate was not scored; an infrastructure failure is nobody's outcome and ends the stage."""
        if not outcome.is_final:
            raise ExecutionError(
                f"{draft.proposal.name} could not be evaluated: {outcome.reason}; nothing is lost, run the same "
                "command again"
            )
        self._end(draft, outcome)

    def _end(self, draft: Draft, outcome: Outcome) -> None:
        self.archive.add_result(self.run, draft.number, draft.address, outcome, rung=-1, gain=None, scores={})

    def mend(self, draft: Draft, outcome: Outcome, researcher: object, revisions: int) -> Draft | None:
        """The next version of a draft, kept in its place with the one before it; None when it is given up."""
        if not isinstance(researcher, Reviser) or outcome.gate in NOT_MENDED or not outcome.is_final:
            return None
        told = "\n".join(gate_told(self.archive, draft.address, draft.proposal.source, outcome))
        failure = Failure(address=draft.address, gate=outcome.gate or outcome.kind, reason=told)
        known = self._versions(draft.number)
        later = next((b for a, b in pairwise(known) if a.address == draft.address), None)
        if later is not None:  # it was mended before this run was interrupted
            self._mended[draft.number] = later
            return later
        tried = len(self.annex.versions(self.run, draft.number))
        for version in range(tried + 1, revisions + 1):
            proposal = researcher.revise(draft.proposal, failure, draft.number, version)
            mended = replace(draft, address=address_of(proposal.source), proposal=proposal)
            why = proposal.failure
            if why is None and self.is_known(mended.address):
                why = Failure(address=mended.address, gate="novelty", reason="it was proposed before")
            if why is None:
                self._keep_version(draft, version, outcome, mended)
                self._mended[draft.number] = mended
                return mended
            self._keep_version(mended, version, Outcome("rejected", why.reason, why.gate))
        return None

    def _keep_version(self, draft: Draft, version: int, outcome: Outcome, mended: Draft | None = None) -> None:
        """Keep a version that did not last, and what stands in its place now."""
        with self.archive.transaction():
            self.annex.add_version(self.run, draft.number, version, draft.address, as_json(draft.proposal), outcome)
            if mended is not None:
                p = mended.proposal
                self.archive.add_candidate(mended.address, p.name, p.source, p.motivation, p.genome)
                self.annex.replace_proposal(self.run, draft.number, mended.generation, proposal_row(mended))
