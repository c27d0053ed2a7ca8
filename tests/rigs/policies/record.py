"""Recording the table: a population of grammar candidates, each trained for real on every seed.

The population does not depend on any score (a parent is drawn uniformly from the baselines and what was proposed
before), so no policy is favoured by what was recorded. Candidates pass the gates and train in the sandbox, with the
engineer, the archive and the trial keys of any campaign: killed and run again, nothing is trained twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from asiarc.archive.store import Archive, Trial
from asiarc.campaign.identity import made_by, provenance
from asiarc.core.candidate import content_address, motivation
from asiarc.core.digest import digest
from asiarc.core.genome import Genome
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.proposal import Context, Proposal, Relative
from asiarc.core.recipe import MICRO, TrialRecipe
from asiarc.core.seeds import rng_of, seed_of
from asiarc.engineer.workshop import Request, Workshop
from asiarc.execution import Executor
from asiarc.models.baselines import baseline_source
from asiarc.researcher.designs import BASELINES
from asiarc.researcher.grammar import GrammarResearcher
from tests.rigs.policies.table import Entry, Table

START = "delta_net"
RECIPE = MICRO.at(name="micro replay", batch_size=8, steps=64, evaluations=8)
RUNGS = (8, 16, 32, 64)  # steps; each is a mark of the curve
STAGE = "replay"
CHUNK = 4  # trials between two looks at the clock
KEPT = ("git_commit", "git_dirty", "python", "packages", "platform", "cpu", "cores")  # no command line: it has paths


@dataclass(frozen=True)
class Individual:
    """A member of the population: its source, and the address that it was derived from."""

    address: str
    name: str
    source: str
    parent: str
    genome: dict[str, Any]


def population(size: int) -> list[Individual]:
    """`start_from`, and `size` candidates of the grammar, the same on every call."""
    start = _baseline(START)
    parents = [start] + [_baseline(name) for name in sorted(BASELINES) if name != START]
    found: list[Individual] = []
    for number in range(size):
        parent = rng_of("search population", number, "parent").choice(parents)
        context = Context(
            seed=seed_of("search population", number),
            generation=0,
            index=number,
            parent=Relative(
                address=parent.address, name=parent.name, source=parent.source, genome=parent.genome, scores={}
            ),
            known=frozenset(known.address for known in parents),
        )
        child = _individual(GrammarResearcher().propose(context), parent.address)
        parents.append(child)
        found.append(child)
    return [start, *found]


def _baseline(name: str) -> Individual:
    source = baseline_source(name)
    return Individual(content_address(source), name, source, "", BASELINES[name].model_dump())


def _individual(proposal: Proposal, parent: str) -> Individual:
    assert proposal.genome is not None, "the grammar writes genomes"
    return Individual(content_address(proposal.source), proposal.name, proposal.source, parent, proposal.genome)


class Recording:
    """A recording of `size` candidates on `seeds` seeds in one archive; `record` goes on where it was left."""

    def __init__(
        self, archive: Archive, executor: Executor, size: int, seeds: int, recipe: TrialRecipe = RECIPE
    ) -> None:
        self.archive, self.workshop, self.seeds = archive, Workshop(archive, executor), seeds
        self.recipe = recipe
        self.people = population(size)
        settings = {"size": size, "seeds": seeds, "recipe": recipe.as_dict(), **made_by("trial", "admission")}
        self.run = digest(settings)
        archive.add_run(self.run, "search table", "replay", 0, settings, provenance())
        for one in self.people:
            archive.add_candidate(one.address, one.name, one.source, motivation(one.source), one.genome)

    def record(self, minutes: float, say: Callable[[str], None]) -> bool:
        """Admit and train for about `minutes`; True when nothing is left to do. Seed by seed, so that what is there
        at any moment is whole seeds of every candidate but for the last one."""
        end = time.monotonic() + 60 * minutes
        admitted: list[Individual] = []
        for first in range(0, len(self.people), CHUNK):
            if time.monotonic() > end:
                return False
            some = self.people[first : first + CHUNK]
            outcomes = self._admit(some)
            admitted += [one for one in some if outcomes[one.address] == SCORED]
        say(f"{len(admitted)} of {len(self.people)} admitted")
        for seed in range(self.seeds):
            for first in range(0, len(admitted), CHUNK):
                if time.monotonic() > end:
                    return False
                self.workshop.train(self.run, [self._request(o, seed) for o in admitted[first : first + CHUNK]])
            say(f"seed {seed} is whole; {self.workshop.new_trials} trials in this piece")
        return True

    def table(self) -> Table:
        """What is recorded of every candidate that was scored on all seeds; the others are counted by outcome."""
        entries, left_out = [], Counter[str]()
        outcomes = self._admit(self.people)
        for one in self.people:
            trials = self._trials(one) if outcomes[one.address] == SCORED else []
            endings = [outcomes[one.address], *(trial.outcome for trial in trials)]
            failed = next((ending for ending in endings if ending != SCORED), None)
            if failed is not None:
                left_out[f"{failed.kind} {failed.gate}".strip()] += 1
            else:
                entries.append(_entry(one, trials))
        assert entries[0].name == START, "gains are measured against start_from"
        where = {key: value for key, value in provenance().items() if key in KEPT}
        settings = {
            "recipe": self.recipe.as_dict(),
            "task": "text",
            "size": len(self.people) - 1,
            **made_by("trial", "admission"),
        }
        return Table(RUNGS, tuple(entries), dict(left_out), where | {"recorded": settings})

    def _admit(self, people: Sequence[Individual]) -> dict[str, Outcome]:
        found = self.workshop.admit({one.address: one.source for one in people}, MICRO)
        return {address: admission["outcome"] for address, admission in found.items()}

    def _trials(self, one: Individual) -> list[Trial]:
        found = [self.archive.trial(self._request(one, seed).key) for seed in range(self.seeds)]
        return [trial for trial in found if trial is not None]

    def _request(self, one: Individual, seed: int) -> Request:
        start = self.people[0]
        return Request(
            address=one.address,
            source=one.source,
            task="text",
            stage=STAGE,
            seed=f"{STAGE}/{seed}",
            recipe=self.recipe,
            match=(start.address, start.source),
            split="validation",
            documents=4,  # the rungs are read from the curve; the score by lm-eval stays in the archive
        )


def _entry(one: Individual, trials: Sequence[Trial]) -> Entry:
    first = trials[0]
    curves = [{int(step): bits for step, _, bits in trial.curve} for trial in trials]
    assert first.parameters is not None and first.state_bytes is not None and first.flops_per_token is not None
    return Entry(
        address=one.address,
        name=one.name,
        parent=one.parent,
        choices=Genome(**one.genome).choices(),
        parameters=first.parameters,
        state_bytes=first.state_bytes,
        flops_per_token=first.flops_per_token,
        train_cpu_s=round(fmean(trial.details["train_cpu_s"] for trial in trials), 2),
        bits=[[round(curve[step], 5) for curve in curves] for step in RUNGS],
    )
