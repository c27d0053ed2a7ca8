"""What a proposal may build on: parent and references, insights, cognition, failures, and what is known already.

Everything is asked of the archive by index, and only of what was proposed before, so that a resumed run is told the
same. What may grow with a run is told to those who need it only: the addresses that may not be proposed again, the
motivations that are compared, the record of each model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asiarc.analyst.compare import tags_of
from asiarc.archive.annex import Annex
from asiarc.archive.store import Archive
from asiarc.campaign.declaration import Campaign
from asiarc.cognition.library import read_up
from asiarc.core.proposal import CognitionHit, Context, Earlier, Failure, Insight, Relative, Tried
from asiarc.core.seeds import seed_of
from asiarc.loop.agents import OPEN, Team
from asiarc.search.campaign import LEADING, Exploration

SIBLINGS = 3  # the strongest other children of the parent that a proposal is shown
FAILED = 8  # the latest failures that it is told
START = -1  # stands for start_from where proposals have their number


class Surroundings:
    """Makes the context of each proposal of one run; `baselines` are addresses, `start` is start_from's."""

    def __init__(
        self, campaign: Campaign, run: str, archive: Archive, team: Team, start: str, baselines: set[str]
    ) -> None:
        self.campaign, self.run, self.archive, self.team = campaign, run, archive, team
        self.annex, self.start = Annex(archive), start
        self._known, self._counted = set(baselines), 0

    def context(self, search: Exploration, generation: int, number: int) -> Context:
        """The context of a proposal, with parent and references by the search's policy."""
        entered = search.board.entered  # what came by the door may have been scored ahead of its generation
        leading = [n for n in self.archive.leading_numbers(self.run, LEADING) if n < entered]
        parent, references = search.parents(leading, generation, number)
        relatives = [self._relative(n) for n in (parent, *references)]
        alone = self.campaign.arm == "best_of_n"
        siblings = [] if alone else self._siblings(parent, {parent, *references})
        insights = [self._insight(relative.address) for relative in relatives]
        return Context(
            seed=seed_of(*search.address, generation, number, "propose"),
            generation=generation,
            index=number,
            parent=relatives[0],
            references=tuple(relatives[1:]),
            insights=tuple(insight for insight in insights if insight) if self._has_analyst else (),
            cognition=self._read_up(relatives[0], insights[0]),
            failed=() if alone else self._failed(number),
            known=self._known_before(number) if "syntax" in self.campaign.novelty else frozenset(),
            siblings=tuple(self._relative(n) for n in siblings),
            tasks=self.campaign.explore.tasks,
            earlier=self._earlier(number) if "motivation" in self.campaign.novelty else (),
            tried=self._tried(number),
        )

    @property
    def _has_analyst(self) -> bool:
        return self.campaign.arm != "no_analyst"

    def _relative(self, number: int) -> Relative:
        """start_from, or a scored candidate of this run."""
        row: Mapping[str, Any] | None
        if number == START:
            row, scores = self.archive.candidate(self.start), {"gain": 0.0}
        else:
            row, result = self.archive.proposal(self.run, number), self.archive.result(self.run, number)
            assert result is not None, number
            by_task = {task: score["gain"] for task, score in result["scores"].items()}
            scores = {"gain": result["gain"]} | {t: gain for t, gain in by_task.items() if gain is not None}
        assert row is not None, number
        insight = self._insight(row["address"]) if self._has_analyst else None
        return Relative(
            address=row["address"],
            name=self.campaign.start_from if number == START else row["name"],
            source=row["source"],
            genome=row["genome"],
            scores=scores,
            insight=insight.text if insight else None,
            motivation=row["motivation"],
        )

    def _insight(self, address: str) -> Insight | None:
        written = self.archive.insight(self.run, address)
        return Insight(**written) if written else None

    def _siblings(self, parent: int, shown: set[int]) -> list[int]:
        """The strongest other children of a parent that are not shown as references already."""
        (address,) = [self.start] if parent == START else self.archive.addresses(self.run, parent, parent + 1)
        children = self.archive.children(self.run, address, SIBLINGS + len(shown))
        return [n for n in children if n not in shown][:SIBLINGS]

    def _read_up(self, parent: Relative, insight: Insight | None) -> tuple[CognitionHit, ...]:
        """What the cognition base answers to the parent's weakness, besides what the parent is made of."""
        if insight is None or self.campaign.arm == "no_cognition":
            return ()
        if not self._has_analyst:  # the weakest task is a number, not an opinion
            insight = replace(insight, query="")
        in_grammar = self.campaign.researcher not in ("llm", OPEN)
        return read_up(insight, without=tags_of(parent.genome), in_grammar=in_grammar, own=self.campaign.cognition)

    def _failed(self, number: int) -> tuple[Failure, ...]:
        """The last candidates that were turned away or broke, with the reasons."""
        return tuple(
            Failure(
                address=row["address"],
                gate=row["outcome"].gate or row["outcome"].kind,
                reason=row["outcome"].reason,
                name=row["name"],
            )
            for row in self.archive.last_failed(self.run, number, FAILED)
        )

    def _known_before(self, number: int) -> frozenset[str]:
        """Baselines and what was proposed before; a proposal that was mended counts as all that it was."""
        self._known.update(self.archive.addresses(self.run, self._counted, number))
        self._known.update(self.annex.mended(self.run, number))
        self._counted = number
        return frozenset(self._known)

    def _earlier(self, number: int) -> tuple[Earlier, ...]:
        rows = self.archive.motivations(self.run, number)
        return tuple(Earlier(**row) for row in rows if row["motivation"])

    def _tried(self, number: int) -> tuple[Tried, ...]:
        if self.campaign.researcher != "llm":
            return ()
        before = [
            [row for row in rows if row["number"] < number]
            for rows in (self.archive.proposals(self.run), self.archive.results(self.run))
        ]
        return self.team.tried(*before)
