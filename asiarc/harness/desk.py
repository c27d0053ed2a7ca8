"""What is answered at the door of a campaign: plain JSON, the same whether it is asked here or of a referee.

A `Desk` answers with what a `Reader` tells: all numbers where whoever asks can read the store, and those of the ladder
(`Laddered`) where a referee has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import PurePath
from typing import Any

from asiarc.archive.results import CampaignResult
from asiarc.core.proposal import Context, Relative, as_json
from asiarc.core.recipe import STAGES
from asiarc.loop.door import Door, Twin
from asiarc.loop.feedback import WORDS, Feedback, GainOver, Reader, as_data

Row = dict[str, Any]


class Desk:
    """Answers for one campaign at one tier. Errors are those of `Door`."""

    def __init__(self, door: Door, reads: type[Reader] = Reader) -> None:
        self.door, self.reads = door, reads

    @property
    def is_public(self) -> bool:
        """Whether whoever asks can read the store anyway."""
        return self.reads is Reader

    def reader(self) -> Reader:
        """Reads what there is now."""
        return self.reads(CampaignResult.load(self.door.archive, self.door.run.run))

    def propose(self, files: Mapping[str, str], *, parent: str, idea: str, author: str) -> Row:
        """Referee sources by the names of their files; what is known already is told what it got, and costs nothing."""
        door, found = self.door, list[tuple[str, Twin | None, int | None]]()
        search = door.walk()
        door.require(sum(self._twin(source) is None for source in files.values()))
        for file, source in files.items():
            twin = self._twin(source)
            number = twin.number if twin else None
            if twin is None:
                name = PurePath(file).stem
                number = door.propose(source, search, name=name, parent=parent, idea=idea, author=author)
                search = door.walk()
            found.append((file, twin, number))
        reader = self.reader()
        heard = [(file, twin, None if number is None else reader.of(number)) for file, twin, number in found]
        reader.note("propose", author, [feedback for *_, feedback in heard if feedback])
        left = {"candidates": door.budget - door.proposed}
        return self._of_campaign() | {
            "run": door.run.run,
            "left": left | ({"trainings": max(0.0, search.board.left)} if self.is_public else {}),
            "proposals": [
                {"file": file, "known_as": twin and asdict(twin), "word": "rejected", **as_data(feedback)}
                for file, twin, feedback in heard
            ],
        }

    def brief(self, author: str) -> Row:
        """What a researcher may know before the next proposal, as data and as a page."""
        from asiarc.researcher.briefing import brief as page

        context = self.door.context(self.door.walk())
        if not self.is_public:
            context = self._hushed(context, author)
        text = page(context, self.door.run.label)
        return self._of_campaign() | {"number": context.index, "brief": text, "context": as_json(context)}

    def tried(self, file: str, source: str) -> Row:
        """Whether a source is known."""
        twin = self.door.known(source) or self.door.behaves_as(source)
        return {"file": file, "known_as": twin and asdict(twin)}

    def standings(self, author: str) -> list[Row]:
        """As `standings`, noted in the ledger."""
        reader = self.reader()
        found = reader.all()
        reader.note("standings", author, found)
        return ranked(found)

    def verdict(self) -> Row:
        """What verify and confirm say, run where they have not been: the door is closed then. Neither seeds nor items
        nor any other gain is told."""
        from asiarc.report.answer import answer, facts_of, properties

        for stage in STAGES:
            if stage in self.door.run.campaign.stages:
                self.door.run.ensure(stage)
        facts = facts_of(CampaignResult.load(self.door.archive, self.door.run.run))
        return self._of_campaign() | {"verdict": answer(facts), "decision": "cannot tell"} | properties(facts)

    def _twin(self, source: str) -> Twin | None:
        """Who a source is already; where looks are few, also by what it computes: noise in it buys no second draw."""
        return self.door.known(source) or (None if self.is_public else self.door.behaves_as(source))

    def _of_campaign(self) -> Row:
        return {"campaign": self.door.run.label, "tier": self.door.run.tier}

    def _hushed(self, context: Context, author: str) -> Context:
        """A context that tells of others what the ladder told: who was ahead, the last one as the parent."""
        reader = self.reader()
        found = reader.all()
        reader.note("brief", author, found)
        ahead = sorted((one for one in found if one.word == "ahead"), key=lambda one: one.scores[0].look, reverse=True)
        told = [self._told(one.address, one.name, interval(one.scores[0])) for one in ahead]
        start = self._told(self.door.run.bench.start, self.door.run.campaign.start_from, "")
        parent, *references = [*told, start]
        terms = context.terms and replace(
            context.terms, baselines=tuple(replace(one, standing="") for one in context.terms.baselines)
        )
        return replace(
            context, parent=parent, references=tuple(references), siblings=(), insights=(), cognition=(), queries=(),
            belief=None, foretold=(), terms=terms, tried=(),
        )  # fmt: skip

    def _told(self, address: str, name: str, gain: str) -> Relative:
        row = self.door.archive.candidate(address)
        assert row is not None, address
        standing = gain and f"it is ahead of {self.door.run.campaign.start_from} by {gain}"
        return Relative(
            address=address, name=name, source=row["source"], genome=None, scores={}, standing=standing,
            motivation=row["motivation"],
        )  # fmt: skip


def ranked(found: Sequence[Feedback]) -> list[Row]:
    """Feedback as data, the best first."""
    best_first = sorted(
        found, key=lambda one: (WORDS[one.word], -one.rung, -(one.scores[0].gain if one.scores else 0.0), one.number)
    )
    return [as_data(one) for one in best_first]


def interval(score: GainOver | Mapping[str, Any]) -> str:
    """A gain with its interval, or that it has none."""
    s = asdict(score) if isinstance(score, GainOver) else score
    if s["low"] is None:
        return f"{s['gain']:+.4f} {s['unit']} (no seed was repeated, so without an interval)"
    return f"{s['gain']:+.4f} [{s['low']:+.4f}, {s['high']:+.4f}] {s['unit']}, widened for {s['look']} looks"
