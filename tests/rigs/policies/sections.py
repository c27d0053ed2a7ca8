"""Does a section of the context help the researcher that reads it? The grammar, with one section left out at a time.

A world's truth is a design's gain as a sum over its choices. `fitted`: each choice is worth what a ridge regression on
the recorded table gives it (the table's noise beside it); `drawn`: each is worth a normal number of the same spread, so
that nothing that was written beforehand (what a choice should help, what the literature says) can be right but by
chance. Everything between is the product's own: the policy, the grammar, the insights, the cognition base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np

from asiarc.analyst.compare import Observation, analyse, mechanism_effects, tags_of
from asiarc.archive.gains import Gains
from asiarc.cognition.library import read_up
from asiarc.core.candidate import content_address
from asiarc.core.genome import Genome
from asiarc.core.proposal import Context, Insight, Relative
from asiarc.core.seeds import seed_of
from asiarc.evidence.shares import Z
from asiarc.models.baselines import baseline_source
from asiarc.researcher.designs import BASELINES
from asiarc.researcher.grammar import GrammarResearcher
from asiarc.search.policies.bayes import UpperBound
from asiarc.search.protocol import ROOT, Board, Evaluation, Traits
from tests.rigs.policies.table import Table

START = "delta_net"
CANDIDATES = 32
GENERATION = 8
RUNS = 2.0  # a candidate, on the one rung
RIDGE = 1.0
Worth = Callable[[Genome], float]
CUTS: dict[str, Callable[[Context], Context]] = {
    "full": lambda context: context,
    "no insights": lambda context: replace(context, insights=()),
    "no cognition": lambda context: replace(context, cognition=()),
    "no references": lambda context: replace(context, references=()),
    "none of them": lambda context: replace(context, insights=(), cognition=(), references=()),
}


def fitted(table: Table) -> tuple[dict[str, float], float]:
    """What each choice is worth in bits a byte by ridge regression on the last rung, and the noise of one run."""
    designs = [tags_of(Genome(**entry.choices).model_dump()) for entry in table.entries]
    bits_NS = np.array([entry.bits[-1] for entry in table.entries])
    gains_N = bits_NS[0].mean() - bits_NS.mean(1)
    tags = sorted(frozenset().union(*designs))
    x_NP = np.array([[float(tag in design) for tag in tags] for design in designs])
    x_NP -= x_NP[0]
    weights_P = np.linalg.solve(x_NP.T @ x_NP + RIDGE * np.eye(len(tags)), x_NP.T @ gains_N)
    return dict(zip(tags, map(float, weights_P), strict=True)), float(sqrt(bits_NS.var(1, ddof=1).mean()))


def worth_of(weights: dict[str, float]) -> Worth:
    """A design's gain over the start: the sum over its choices, less the start's."""

    def total(genome: Genome) -> float:
        return sum(weights.get(tag, 0.0) for tag in sorted(tags_of(genome.model_dump())))

    start = total(BASELINES[START])
    return lambda genome: total(genome) - start


class Searched:
    """One search of a world: the grammar proposes, each candidate is worth what `worth` says, with noise."""

    def __init__(self, worth: Worth, noise: float, number: int, cut: Callable[[Context], Context]) -> None:
        self.worth, self.noise, self.number, self.cut = worth, noise, number, cut
        self.board = Board((1.0,), RUNS * CANDIDATES, CANDIDATES, None, generation=GENERATION)
        self.people, self.designs = [_start()], [(BASELINES[START], baseline_source(START))]
        self.parents, self.insights = [0], dict[int, Insight]()
        self.scores: dict[tuple[str, str], float] = {}
        self.policy, self.rng = UpperBound(), np.random.default_rng(seed_of("sections", "policy", number))

    def run(self) -> float:
        """The truth of what the search would go on with."""
        for first in range(0, CANDIDATES, GENERATION):
            for traits in [self.propose(first, index) for index in range(first, first + GENERATION)]:
                self.board.enter(traits)
            while wanted := self.board.payable(self.policy.next(self.board, self.rng)):
                for one in wanted:
                    self.measure(one)
            self.analyse(range(first + 1, first + GENERATION + 1))
        return self.worth(self.designs[self.policy.recommend(self.board)[0].candidate][0])

    def propose(self, generation: int, index: int) -> Traits:
        """The grammar's proposal, in the context that a campaign would give, less what is cut."""
        parent, references = self.policy.parents(self.board, self.rng)
        mine = self.insights.get(parent)
        context = Context(
            seed=seed_of("sections", self.number, index),
            generation=generation,
            index=index,
            parent=self.relative(parent),
            references=tuple(map(self.relative, references)),
            insights=tuple(self.insights[i] for i in (parent, *references) if i in self.insights),
            cognition=read_up(mine, without=self.people[parent].tags) if mine else (),
            known=frozenset(one.address for one in self.people),
            tasks=("text",),
        )
        proposal = GrammarResearcher().propose(self.cut(context))
        genome = Genome(**proposal.genome or {})
        address = content_address(proposal.source)
        self.people.append(Observation(address, proposal.name, tags_of(genome.model_dump()), {}))
        self.designs.append((genome, proposal.source))
        self.parents.append(parent)
        return Traits(genome.memory)

    def relative(self, row: int) -> Relative:
        """A candidate as the grammar is shown it."""
        one, (genome, source) = self.people[row], self.designs[row]
        return Relative(address=one.address, name=one.name, source=source, genome=genome.model_dump(), scores={})

    def measure(self, one: Evaluation) -> None:
        """One training: the truth, the seed's luck, which start_from shares, and the run's own."""
        address, start = self.people[one.candidate].address, self.people[ROOT].address
        luck, theirs = (
            np.random.default_rng(seed_of("sections", self.number, who, one.seed)).normal(0, self.noise)
            for who in (address, start)
        )
        mine = self.worth(self.designs[one.candidate][0]) + luck
        self.scores[address, str(one.seed)], self.scores[start, str(one.seed)] = mine, theirs
        self.board.observe(one, mine - theirs)

    def analyse(self, rows: Sequence[int]) -> None:
        """The analyst's arithmetic on a generation, as a campaign has it written."""
        gains = Gains({("text", 1): self.scores}, ("text",))
        start = self.people[ROOT]
        seen = [replace(one, gains=gains.by_task(one.address, start.address)) for one in self.people]
        effects = mechanism_effects(seen[1:], gains.side_by_side(one.address for one in seen[1:]))
        for row in rows:
            family = [seen[i] for i in rows if i != row and self.parents[i] == self.parents[row]]
            parent = seen[self.parents[row]]
            self.insights[row] = analyse(seen[row], parent, family, effects, gains, start=seen[ROOT])


def _start() -> Observation:
    source = baseline_source(START)
    return Observation(content_address(source), START, tags_of(BASELINES[START].model_dump()), {})


def lines(table: Path, searches: int) -> Iterator[str]:
    """What each section is worth to the grammar, in 10^-3 bits a byte: full less cut, paired by world."""
    weights, noise = fitted(Table.read(table))
    spread = float(np.std(list(weights.values())))
    for world in ("fitted", "drawn"):
        found: dict[str, list[float]] = {name: [] for name in CUTS}
        for number in range(searches):
            rng = np.random.default_rng(seed_of("sections", "world", number))
            drawn = {tag: float(rng.normal(0, spread)) for tag in sorted(weights)}
            worth = worth_of(weights if world == "fitted" else drawn)
            for name, cut in CUTS.items():
                found[name].append(Searched(worth, noise, number, cut).run())
        full = np.array(found["full"])
        yield f"{world}: noise {1e3 * noise:.1f}, its choice gains {1e3 * full.mean():.1f} (n = {searches})"
        for name in list(CUTS)[1:]:
            lost = 1e3 * (full - np.array(found[name]))
            yield f"  {name:14} loses {lost.mean():+6.1f} ± {Z * lost.std(ddof=1) / sqrt(searches):.1f}"
