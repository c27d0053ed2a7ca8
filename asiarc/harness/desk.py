"""What is answered at the door of a campaign: plain JSON, the same whoever asks and in which way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from asiarc.archive.results import CampaignResult
from asiarc.core.proposal import as_json
from asiarc.core.recipe import STAGES
from asiarc.harness.door_verbs import as_data
from asiarc.loop.door import Door, Twin
from asiarc.loop.feedback import WORDS, Feedback, Reader

Row = dict[str, Any]


class Desk:
    """Answers for one campaign at one tier. Errors are those of `Door`."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def propose(self, files: Mapping[str, str], *, parent: str, idea: str, author: str) -> Row:
        """Referee sources by the names of their files; what is known already is told what it got, and costs nothing."""
        door, found = self.door, list[tuple[str, Twin | None, int | None]]()
        search = door.walk()
        door.require(sum(door.known(source) is None for source in files.values()))
        for file, source in files.items():
            twin = door.known(source)
            number = twin.number if twin else None
            if twin is None:
                name = PurePath(file).stem
                number = door.propose(source, search, name=name, parent=parent, idea=idea, author=author)
                search = door.walk()
            found.append((file, twin, number))
        reader = Reader(CampaignResult.load(door.archive, door.run.run))
        heard = [(file, twin, None if number is None else reader.of(number)) for file, twin, number in found]
        left = {"candidates": door.budget - door.proposed, "trainings": max(0.0, search.board.left)}
        return self._of_campaign() | {
            "run": door.run.run,
            "left": left,
            "proposals": [
                {"file": file, "known_as": twin and asdict(twin), "word": "rejected", **as_data(feedback)}
                for file, twin, feedback in heard
            ],
        }

    def brief(self, _: str) -> Row:
        """What a researcher may know before the next proposal, as data and as a page."""
        from asiarc.researcher.briefing import brief as page

        context = self.door.context(self.door.walk())
        text = page(context, self.door.run.label)
        return self._of_campaign() | {"number": context.index, "brief": text, "context": as_json(context)}

    def tried(self, file: str, source: str) -> Row:
        """Whether a source is known."""
        twin = self.door.known(source) or self.door.behaves_as(source)
        return {"file": file, "known_as": twin and asdict(twin)}

    def verdict(self) -> Row:
        """What verify and confirm say, run where they have not been: the door is closed then."""
        from asiarc.report.answer import answer, facts_of, properties

        for stage in STAGES:
            if stage in self.door.run.campaign.stages:
                self.door.run.ensure(stage)
        facts = facts_of(CampaignResult.load(self.door.archive, self.door.run.run))
        return self._of_campaign() | {"verdict": answer(facts), "decision": "cannot tell"} | properties(facts)

    def _of_campaign(self) -> Row:
        return {"campaign": self.door.run.label, "tier": self.door.run.tier}


def ranked(found: Sequence[Feedback]) -> list[Row]:
    """Feedback as data, the best first."""
    best_first = sorted(
        found, key=lambda one: (WORDS[one.word], -one.rung, -(one.scores[0].gain if one.scores else 0.0), one.number)
    )
    return [as_data(one) for one in best_first]
