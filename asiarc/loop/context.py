"""What a proposal may build on: parent and references, insights, cognition, failures, and what is known already.

Everything is asked of the archive by index, and only of what was proposed before, so that a resumed run is told the
same. What may grow with a run is told to those who need it only: the addresses that may not be proposed again, the
motivations that are compared, the record of each model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from asiarc.analyst.compare import tags_of
from asiarc.analyst.sources import parts_of
from asiarc.archive.annex import Annex
from asiarc.archive.gains import Gain, Gains, gains_of
from asiarc.archive.store import Archive
from asiarc.campaign.declaration import Campaign
from asiarc.cognition.library import read_around, read_up
from asiarc.core.proposal import Belief, Context, Earlier, Failure, Insight, Relative, Tried
from asiarc.core.seeds import rng_of, seed_of
from asiarc.loop.agents import OPEN, Team
from asiarc.loop.findings import POPULATION, observed
from asiarc.loop.terms import belief_of, effects_of, foretold_of, terms_of
from asiarc.loop.trials import Bench
from asiarc.search.campaign import LEADING, Exploration

SIBLINGS = 3  # the strongest other children of the parent that a proposal is shown
FAILED = 8  # the latest failures that it is told
START = -1  # stands for start_from where proposals have their number
WORTHS = 40  # candidates that the belief is told of, the most promising first
Before = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # proposals and results before a number
READS_LITTLE = ("grammar", "random")  # researchers that are told neither terms nor belief


class Surroundings:
    """Makes the context of each proposal of one run; `bench` knows its plan, its baselines and where it starts."""

    def __init__(self, campaign: Campaign, run: str, archive: Archive, team: Team, bench: Bench) -> None:
        self.campaign, self.run, self.archive, self.team, self.bench = campaign, run, archive, team, bench
        self.annex, self.start = Annex(archive), bench.start
        self._known, self._counted = set(bench.baselines.values()), 0

    def context(self, search: Exploration, generation: int, number: int) -> Context:
        """The context of a proposal, with parent and references by the search's policy."""
        entered = search.board.entered  # what came by the door may have been scored ahead of its generation
        leading = [n for n in self.archive.leading_numbers(self.run, LEADING) if n < entered]
        parent, references = search.parents(leading, generation, number)
        alone = self.campaign.arm == "best_of_n"
        siblings = [] if alone else self._siblings(parent, {parent, *references})
        shown = [parent, *references, *siblings]
        gains = self._gains(number, shown)
        before: Before = ([], []) if self.campaign.researcher in READS_LITTLE else self._before(number)
        relatives = [self._relative(n, gains, shown[0]) for n in shown]
        named = relatives[: 1 + len(references)]
        insights = [self._insight(relative.address) for relative in named]
        found = Context(
            seed=seed_of(*search.address, generation, number, "propose"),
            generation=generation,
            index=number,
            parent=relatives[0],
            references=tuple(named[1:]),
            insights=tuple(insight for insight in insights if insight) if self._has_analyst else (),
            failed=() if alone else self._failed(number),
            known=self._known_before(number) if "syntax" in self.campaign.novelty else frozenset(),
            siblings=tuple(relatives[len(named) :]),
            tasks=self.campaign.explore.tasks,
            earlier=self._earlier(number) if "motivation" in self.campaign.novelty else (),
            tried=self._tried(before, gains),
        )
        found = self._with_cognition(found, insights[0])
        if self.campaign.researcher in READS_LITTLE:
            return found
        return replace(
            found,
            terms=terms_of(self.bench, gains),
            belief=self._belief(search, found, gains),
            foretold=() if alone or not self._has_analyst else foretold_of(*before, gains, self.start),
        )

    @property
    def _has_analyst(self) -> bool:
        return self.campaign.arm != "no_analyst"

    def _gains(self, before: int, shown: Sequence[int]) -> Gains:
        """The gains among those that are shown, and what the seeds' luck is read from."""
        rows = self.archive.population(self.run, before - 1, POPULATION)
        addresses = {row["address"] for row in rows} | {self._address(number) for number in shown}
        return gains_of(self.archive, self.run, addresses, self.bench.deciding("explore"))

    def _address(self, number: int) -> str:
        return self.start if number == START else self.archive.addresses(self.run, number, number + 1)[0]

    def _relative(self, number: int, gains: Gains, parent: int) -> Relative:
        """start_from, or a scored candidate of this run."""
        is_start, address = number == START, self._address(number)
        row = self.archive.candidate(address) if is_start else self.archive.proposal(self.run, number)
        assert row is not None, number
        scores, standing = {"gain": 0.0}, ""
        if not is_start:
            by_task, over = gains.by_task(address, self.start), gains.over(address, self.start)
            scores = {task: gain.mean for task, gain in by_task.items()} | ({"gain": over.mean} if over else {})
            step = None if parent in (number, START) else gains.over(address, self._address(parent))
            standing = _standing(by_task, step)
        insight = self._insight(row["address"]) if self._has_analyst else None
        return Relative(
            address=row["address"],
            name=self.campaign.start_from if number == START else row["name"],
            source=row["source"],
            genome=row["genome"],
            scores=scores,
            standing=standing,
            insight=insight.text if insight else None,
            motivation=row["motivation"],
        )

    def _insight(self, address: str) -> Insight | None:
        written = self.archive.insight(self.run, address)
        return Insight(**written) if written else None

    def _siblings(self, parent: int, shown: set[int]) -> list[int]:
        """The strongest other children of a parent that are not shown as references already."""
        children = self.archive.children(self.run, self._address(parent), SIBLINGS + len(shown))
        return [n for n in children if n not in shown][:SIBLINGS]

    def _with_cognition(self, context: Context, insight: Insight | None) -> Context:
        """With what the cognition base answers: to the parent's weakness, besides what the parent is made of; a
        language model can use any entry, and is shown what a draw brings."""
        if self.campaign.arm == "no_cognition":
            return context
        if insight and not self._has_analyst:  # the weakest task is a number, not an opinion
            insight = replace(insight, query="", mechanisms=())
        if self.campaign.researcher in ("llm", OPEN):
            queries = self._queries(context, insight)
            hits = read_around(queries, context.seed, own=self.campaign.cognition)
            return replace(context, queries=queries, cognition=hits)
        if insight is None:
            return context
        return replace(
            context, cognition=read_up(insight, without=tags_of(context.parent.genome), own=self.campaign.cognition)
        )

    def _queries(self, context: Context, insight: Insight | None) -> tuple[str, ...]:
        """What is weak (in the first generation any task that decides), what the parent is meant to do, and what it is
        made of or what was seen to help."""
        weak = (insight.query or insight.weakness) if insight else ""
        weak = weak or rng_of(context.seed, "weakness").choice(self.bench.deciding("explore"))
        helps = [tag for tag in (insight.mechanisms if insight else ()) if not tag.startswith("-")]
        made = [tag.partition("=")[2] for tag in helps or sorted(parts_of(context.parent.source))]
        return weak, context.parent.motivation, " ".join(made).replace("_", " ")

    def _belief(self, search: Exploration, context: Context, gains: Gains) -> Belief | None:
        """What the search believes; nobody tells it to an arm without it, or to one that learns from no trial."""
        if self.campaign.arm in ("no_belief", "best_of_n"):
            return None
        believed = search.belief(context.generation, context.index)[:WORTHS]
        names = {START: (self.campaign.start_from, self.start)}
        for one in believed:
            row = self.archive.proposal(self.run, one.number) if one.number != START else None
            names |= {one.number: (row["name"], row["address"])} if row else {}
        rows = self.archive.population(self.run, context.index - 1, POPULATION)
        return belief_of(believed, names, effects_of(observed(self.archive, rows, gains, self.start), gains))

    def _before(self, number: int) -> Before:
        """Proposals and results before a number."""
        rows = self.archive.proposals(self.run), self.archive.results(self.run)
        proposals, results = ([row for row in some if row["number"] < number] for some in rows)
        return proposals, results

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

    def _tried(self, before: Before, gains: Gains) -> tuple[Tried, ...]:
        return self.team.tried(*before, gains, self.start) if self.campaign.researcher == "llm" else ()


def _standing(by_task: Mapping[str, Gain], step: Gain | None) -> str:
    """How a candidate compares with the start on each task, where it was measured, and with the parent where both
    stand; those that cannot be told apart are said to be that."""
    told = [f"{task}: {gain.than('the starting baseline')}" for task, gain in sorted(by_task.items())]
    told += [f"it {step.than('the parent')}"] if step else []
    return "; ".join(told)
