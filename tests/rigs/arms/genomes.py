"""A population of genomes that were trained for real: what a surrogate of the search's world is fitted on.

Half are drawn uniformly, half are children of a member drawn uniformly, so that near and far pairs are both there; no
score decides who is in it. The first are the named designs. Each is trained on the first rung of quick's explore; the
first of them again on other seeds and on the last rung, for the noise and for what one rung says of the next. JSON
lines, one a member.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asiarc.archive import extract
from asiarc.archive.store import Archive
from asiarc.campaign.identity import made_by, provenance
from asiarc.core.candidate import content_address, motivation
from asiarc.core.digest import digest
from asiarc.core.errors import EvidenceError
from asiarc.core.genome import Genome, random_genome
from asiarc.core.outcome import SCORED
from asiarc.core.proposal import Context, Relative
from asiarc.core.recipe import stage_plan
from asiarc.core.seeds import rng_of, seed_of
from asiarc.engineer.workshop import Request, Workshop
from asiarc.loop.trials import planned_recipe, trial_request
from asiarc.researcher.designs import DESIGNS
from asiarc.researcher.grammar import GrammarResearcher
from asiarc.researcher.render import render

START = "delta_net"
TASK = "mixed:zipf"  # on which the shipped campaign decides
PLAN = stage_plan("quick", "explore")
AGAIN, SEEDS = 100, 3  # members that are trained more than once, and on how many seeds on each rung
CHUNK = 8  # trials between two looks at the clock
Row = dict[str, Any]


@dataclass
class Member:
    """A genome, how it ended, what the gates measured, and its bits a byte that is asked for, by steps and seed."""

    address: str
    genome: Row  # the choices that differ from the default
    outcome: str = "scored"  # or "rejected GATE", "crashed", ...
    measures: dict[str, float] = field(default_factory=dict)
    bits: dict[str, dict[str, float]] = field(default_factory=dict)
    cpu_s: float = 0.0


def population(size: int) -> dict[str, Genome]:
    """Address to genome: the named designs, then as many others as are asked for; the same on every call, and the
    beginning of any larger one."""
    found = {content_address(render(genome)): genome for genome in DESIGNS.values()}
    for number in range(10 * size):
        if len(found) >= size:
            break
        drawn = random_genome(rng_of("genomes", number)) if number % 2 else _child(found, number)
        found.setdefault(content_address(render(drawn)), drawn)
    return dict(list(found.items())[:size])


def _child(found: dict[str, Genome], number: int) -> Genome:
    address, genome = rng_of("genomes", number, "parent").choice(list(found.items()))
    context = Context(
        seed=seed_of("genomes", number), generation=0, index=number, known=frozenset(found),
        parent=Relative(
            address=address, name=address, source=render(genome), genome=genome.model_dump(), scores={}
        ),
    )  # fmt: skip
    return Genome(**GrammarResearcher().propose(context).genome or {})


class Recording:
    """The training of a population in one archive; killed and run again, nothing is trained twice."""

    def __init__(self, archive: Archive, workshop: Workshop, size: int) -> None:
        self.archive, self.workshop = archive, workshop
        self.genomes = population(size)
        self.start = content_address(render(DESIGNS[START]))
        settings = {"genomes": size, "plan": PLAN.as_dict(), **made_by("trial", "admission")}
        self.run = digest(settings)
        archive.add_run(self.run, "genomes", "quick", 0, settings, provenance())
        for address, genome in self.genomes.items():
            source = render(genome)
            archive.add_candidate(address, address, source, motivation(source), genome.model_dump())

    def record(self, minutes: float, say: Callable[[str], None]) -> bool:
        """Admit and train for about so long; True when nothing is left. The first seed of all comes first."""
        end, done, wanted = time.monotonic() + 60 * minutes, 0, list(self._wanted())
        for first in range(0, len(wanted), CHUNK):
            if time.monotonic() > end:
                return False
            some = wanted[first : first + CHUNK]
            admitted = self._admitted([address for address, *_ in some])
            self.workshop.train(self.run, [self._request(*one) for one in some if one[0] in admitted])
            done += len(some)
            if done % (10 * CHUNK) == 0:
                say(f"{done} of {len(wanted)} trials; {self.workshop.new_trials} in this piece")
        return True

    def members(self) -> list[Member]:
        """What is recorded of each that was looked at."""
        found = {}
        for address, steps, seed in self._wanted():
            admission = next(iter(self.archive.rows("SELECT * FROM admissions WHERE address = ?", address)), None)
            if admission is None:
                continue
            if address not in found:
                found[address] = Member(address, self.genomes[address].choices(), cpu_s=admission["cpu_s"])
                _told(found[address], self.workshop.admit({address: self._source(address)}, PLAN.text)[address])
            trial = self.archive.trial(self._request(address, steps, seed).key)
            if trial is None:
                continue
            found[address].cpu_s += trial.cpu_s
            if trial.value is None:
                found[address].outcome = f"{trial.outcome.kind} {trial.outcome.gate}".strip()
            else:
                found[address].bits.setdefault(str(steps), {})[str(seed)] = trial.value
        return list(found.values())

    def _wanted(self) -> Iterator[tuple[str, int, int]]:
        """Address, steps and seed of every trial."""
        first, *_, last = PLAN.rungs
        yield from ((address, first, 0) for address in self.genomes)
        for seed in range(SEEDS):
            for address in list(self.genomes)[:AGAIN]:
                yield from ((address, steps, seed) for steps in (first, last) if (steps, seed) != (first, 0))

    def _admitted(self, addresses: Sequence[str]) -> set[str]:
        found = self.workshop.admit({address: self._source(address) for address in addresses}, PLAN.text)
        return {address for address, admission in found.items() if admission["outcome"] == SCORED}

    def _request(self, address: str, steps: int, seed: int) -> Request:
        return trial_request(
            (address, self._source(address)), TASK, "explore", f"genomes/explore/{seed}",
            planned_recipe(TASK, PLAN, steps), match=(self.start, self._source(self.start)),
            documents=PLAN.documents,
        )  # fmt: skip

    def _source(self, address: str) -> str:
        row = self.archive.candidate(address)
        assert row is not None, address
        return str(row["source"])


def _told(member: Member, admission: Row) -> None:
    member.measures = admission["measures"] or {}
    if admission["outcome"] != SCORED:
        member.outcome = f"{admission['outcome'].kind} {admission['outcome'].gate}".strip()


def harvested(folders: Sequence[Path]) -> list[Member]:
    """Members out of published runs: candidates of the grammar that explored on `TASK` with quick's recipe."""
    found: dict[str, Member] = {}
    for folder in folders:
        rows: dict[str, list[Row]] = {}
        for table, row in extract.each(folder / "extract.jsonl.gz"):
            rows.setdefault(table, []).append(row)
        genomes = {row["address"]: json.loads(row["genome"] or "null") for row in rows["candidates"]}
        genomes |= {content_address(render(genome)): genome.model_dump() for genome in DESIGNS.values()}
        counted = [(row["address"], json.loads(row["measures"] or "{}")) for row in rows["admissions"]]
        measures = {address: sizes for address, sizes in counted if "state_bytes" in sizes}
        for trial in rows["trials"]:
            if genomes.get(trial["address"]) and _is_explored(trial):
                genome = Genome(**genomes[trial["address"]])
                address = content_address(render(genome))
                member = found.setdefault(address, Member(address, genome.choices()))
                member.measures = measures.get(trial["address"], member.measures)
                member.bits.setdefault(str(trial["steps"]), {})[trial["seed"]] = trial["value"]
                member.cpu_s += trial["cpu_s"]
    return list(found.values())


def _is_explored(trial: Row) -> bool:
    recipe, planned = json.loads(trial["recipe"]), planned_recipe(TASK, PLAN, trial["steps"])
    sizes = ("d_model", "num_layers", "num_heads", "mlp_ratio", "seq_len", "batch_size", "vocab_size")
    same = all(recipe[name] == getattr(planned, name) for name in sizes) and not recipe.get("layers")
    is_its = trial["task"] == TASK and trial["outcome"] == "scored" and "tuning" not in trial["seed"]
    return is_its and same and trial["stage"] == "explore" and trial["learning_rate"] == planned.learning_rate


def write(members: Sequence[Member], file: Path) -> None:
    """A line a member."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(asdict(member), sort_keys=True) + "\n" for member in members))


def read(*files: Path) -> list[Member]:
    """What was written, a member of several files once; `EvidenceError` where there is none."""
    found: dict[str, Member] = {}
    for file in files:
        try:
            members = [Member(**json.loads(line)) for line in file.read_text().splitlines()]
        except (OSError, ValueError, TypeError) as error:
            raise EvidenceError(
                f"{file} holds no genomes ({error!r}); record some: python -m tests.rigs arms record"
            ) from error
        for member in members:
            known = found.setdefault(member.address, member)
            if known is not member:
                known.cpu_s += member.cpu_s
                for steps, values in member.bits.items():
                    known.bits[steps] = known.bits.get(steps, {}) | values
    return list(found.values())
