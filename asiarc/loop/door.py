"""The door of an open campaign: what people and agents propose, one file at a time, refereed as every other candidate.

A proposal takes the next number and is kept before anything is paid for it; then the search is walked from the archive
to where it is, which trains what its policy asks for and nothing twice. So the archive is the order: after a kill the
same file goes on, and a run is replayed from what is kept, never asked again. verify closes the door: what it chose
among stays what it was.
"""

from __future__ import annotations

import stat
from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from asiarc.archive.store import Archive
from asiarc.campaign.kernels import AnyCampaign
from asiarc.core.candidate import address_of, read_source
from asiarc.core.errors import BudgetExhaustedError, CampaignError, CandidateError, EvidenceError
from asiarc.core.proposal import Context, Proposal
from asiarc.core.recipe import Tier
from asiarc.llm.reading import LONGEST_CODE, ReadingError
from asiarc.loop.run import Run
from asiarc.researcher.ideas import from_code, predicted_text
from asiarc.search.campaign import Exploration

MOST_BYTES = 4 * LONGEST_CODE
READS = 5  # of a file that changes under the reading


@dataclass(frozen=True)
class Twin:
    """Who a file is already: by its program, or by what it computes."""

    by: str  # "program" or "behaviour"
    address: str
    name: str
    number: int | None  # of the proposal in this run; None for a baseline


class Proposable(Protocol):
    """A run that may be proposed to: of mixers, patterns or kernels."""

    @property
    def campaign(self) -> AnyCampaign: ...  # noqa: D102

    label: str
    name: str
    tier: Tier
    run: str
    archive: Archive


class Threshold(ABC):
    """What every door asks before it takes a proposal. Raises `CampaignError` where the campaign is not open."""

    def __init__(self, run: Proposable) -> None:
        if not run.campaign.is_open:
            raise CampaignError(
                f"{run.label} takes no proposals from outside; declare open=True to take them beside its researcher's, "
                "or researcher='open' to take no others"
            )
        self._asked, self.archive = run, run.archive

    @property
    def proposed(self) -> int:
        """How many candidates were proposed so far: the number of the next."""
        return len(self.archive.addresses(self._asked.run, 0, self.budget))

    @property
    def budget(self) -> int:
        """How many candidates may be."""
        return self._asked.campaign.budget.at(self._asked.tier).candidates

    @property
    @abstractmethod
    def starts(self) -> Set[str]:
        """The addresses of what the search starts from and is compared with."""

    @property
    @abstractmethod
    def is_closed(self) -> bool:
        """Whether verify has begun to choose."""

    def require(self, count: int) -> None:
        """Room for so many proposals; `BudgetExhaustedError` where the budget has less."""
        left = self.budget - self.proposed
        if left < count:
            raise BudgetExhaustedError(
                f"{count} asked for, {left} left of the {self.budget} candidates of {self._asked.label} at tier "
                f"{self._asked.tier}; propose no more than that, or go on with: pytest --tier {self._asked.tier} -k "
                f"{self._asked.name}, which verifies the best. More in its budget is another run"
            )

    def _check_open(self) -> None:
        """Explore is finished for good once verify chooses."""
        if self.is_closed:
            raise EvidenceError(
                f"{self._asked.label} is closed: verify has begun to choose among its {self.proposed} proposals, and "
                "one more would be chosen by what it showed. Another seed in the campaign begins another run"
            )

    def _parent(self, text: str) -> str:
        """The address that the beginning of one means, of this run's proposals and the baselines."""
        known = {*self.archive.addresses(self._asked.run, 0, self.budget), *self.starts}
        found = sorted(address for address in known if address.startswith(text))
        if len(found) == 1:
            return found[0]
        several = f"may be any of {', '.join(found[:5])}" if found else "is no candidate or baseline of this run"
        raise EvidenceError(
            f"the parent {text!r} {several}; asiarc standings {self._asked.label} lists their addresses"
        )


class Door(Threshold):
    """Takes proposals for one run of mixers or patterns."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.run = run

    @property
    def starts(self) -> Set[str]:
        """The baselines."""
        return self.run.drafts.baselines

    @property
    def is_closed(self) -> bool:
        """Whether a stage after explore rests on any trial."""
        later = "SELECT 1 FROM uses WHERE run = ? AND stage != 'explore' LIMIT 1"
        return bool(self.archive.rows(later, self.run.run))

    def walk(self) -> Exploration:
        """The search up to where it is; what is kept and not yet paid for is trained."""
        return self.run.search(asks=False)

    def context(self, search: Exploration) -> Context:
        """What a researcher may know before the next proposal; `BudgetExhaustedError` where there is none."""
        self.require(1)
        number = self.proposed
        generation = next(i for i, numbers in enumerate(search.generations) if number in numbers)
        return self.run.surroundings.context(search, generation, number)

    def known(self, source: str) -> Twin | None:
        """Who a file is already by its program: a baseline, or a proposal of this run."""
        return self._twin("program", address_of(source))

    def behaves_as(self, source: str) -> Twin | None:
        """Who computes what a file computes, of the baselines and this run's proposals; None also where that cannot be
        said of it."""
        scored = [row["address"] for row in self.archive.leading(self.run.run, self.budget)]
        alike = self.run.bench.alike(address_of(source), source, scored)
        twins = (self._twin("behaviour", address) for address in alike)
        return next((twin for twin in twins if twin), None)

    def _twin(self, by: str, address: str) -> Twin | None:
        found = self.archive.rows(
            "SELECT number, name FROM proposals WHERE run = ? AND address = ? ORDER BY number LIMIT 1",
            self.run.run, address,
        )  # fmt: skip
        if found:
            return Twin(by, address, found[0]["name"], found[0]["number"])
        if address in self.run.drafts.baselines:
            return Twin(by, address, self.run.progress.name(address), None)
        return None

    def propose(
        self, source: str, search: Exploration, *, name: str = "", parent: str = "", idea: str = "", author: str
    ) -> int:
        """Keep a file as the next proposal, and return its number; the next walk pays for it.

        Without `parent` (an address, or the beginning of one) it is a child of who the policy chose, as in the brief.
        `idea` stands for the file's own docstring. Raises `EvidenceError` after verify, or where no such parent is.
        """
        self._check_open()
        context = self.context(search)
        proposal = as_proposal(source, context, name=name, idea=idea, author=author)
        if parent:
            proposal = replace(proposal, parents=(self._parent(parent),))
        draft = self.run.drafts.of(context.index, context.generation, proposal)
        self.archive.drop("stages", "run = ? AND stage = 'explore'", self.run.run)  # it is not finished after all
        self.run.drafts.store(draft)
        return draft.number


def steady_source(file: Path) -> str:
    """The text of a file that is whole: the same before and after it was read. `CandidateError` where it keeps
    changing, is no text, no ordinary file or too long."""
    for _ in range(READS):
        try:
            before = file.stat()
            if not stat.S_ISREG(before.st_mode) or before.st_size > MOST_BYTES:
                what = f"{before.st_size:,} bytes long" if stat.S_ISREG(before.st_mode) else "no ordinary file"
                raise CandidateError(f"{file} is {what}; a candidate is a Python file of at most {MOST_BYTES:,} bytes")
            source, after = read_source(file), file.stat()
        except OSError as error:
            raise CandidateError(f"{file} cannot be read: {error.strerror}; give a Python file") from error
        if (before.st_mtime_ns, before.st_size, before.st_ino) == (after.st_mtime_ns, after.st_size, after.st_ino):
            return source
    raise CandidateError(f"{file} changes while it is read; propose it again when it is written")


def as_proposal(source: str, context: Context, *, name: str = "", idea: str = "", author: str) -> Proposal:
    """A file as a proposal: as a model's reply that is a bare file, so that it makes no difference who wrote it. What
    is no Python is one, too: the gates say what is wrong with it. Raises `CandidateError` for what cannot be kept."""
    if len(source) > LONGEST_CODE or "\0" in source:
        given = "it holds NUL" if "\0" in source else f"it has {len(source):,}"
        raise CandidateError(f"a candidate is text of at most {LONGEST_CODE:,} characters, and {given}; write it anew")
    try:
        read = from_code(source, context.tasks)
    except ReadingError as error:
        raise CandidateError(f"{error}; save it as UTF-8") from error
    return Proposal(
        source=source,
        name=f"{name or read.name}_{address_of(source)[:6]}",
        motivation=idea or read.motivation,
        origins=(),
        parents=(context.parent.address,),
        genome=None,
        predicted=predicted_text(read.predicted),
        author=author,
    )
