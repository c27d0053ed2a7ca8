"""What is answered at the door of a campaign of kernels, in the rows that `asiarc.harness.desk` answers with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import PurePath

from asiarc.archive.kernels import KernelTimings
from asiarc.archive.store import Archive
from asiarc.core.errors import CandidateError
from asiarc.core.outcome import SCORED
from asiarc.core.proposal import Context, as_json
from asiarc.core.recipe import STAGES
from asiarc.domains.kernel import OPERATORS
from asiarc.harness.desk import Row, ranked
from asiarc.kernels.operators import OPERATORS as SHIPPED
from asiarc.llm.reading import LONGEST_CODE
from asiarc.loop.door import Twin
from asiarc.loop.feedback import Feedback, GainOver, as_data, word_of
from asiarc.loop.kernels import KernelDoor, KernelRun, Times
from asiarc.speed import NotMeasuredError
from asiarc.speed.proposing import LEAN

UNIT = "in the logarithm of time"
BRIEF = """\
# {label}, proposal {number}

Write another kernel for asiarc's operator {operator}: as right as ours, as honest, and faster on one CPU thread. It is
one Python file: a docstring that says the idea; RUNS, a tuple of the torch operators that it runs on; and a function
{operator}({tensors}, initial_state) -> (o, final_state), in whatever floating type it is given. It may import torch,
math, einops, typing, collections.abc and asiarc.kernels.chunked.

The gates ask for the error of ours in every type and range, for what is declared of it (gradients, causality, the
state handed over, equal bits in equal calls), for at most {lean:g} times its operators and memory, and for every way to
look fast without being it. What they admit is timed beside the shipped kernel, the two in turn, by fresh processes; a
gain is how far the logarithm of its time is below that of the shipped algebra in a file of its own.

## What it computes

{definition}

## The parent: {parent}

{source}
"""


def feedback_of(archive: Archive, run: str) -> list[Feedback]:
    """What explore says of every proposal of a run, in order; intervals are widened for those timed before."""
    found = archive.run(run)
    assert found is not None, run
    asked, times = found["identity"]["kernels"], Times.of(archive, run)
    told, looks = list[Feedback](), 0
    for row in archive.proposals(run):
        ended, address = archive.result(run, row["number"]), row["address"]
        outcome = ended["outcome"] if ended else None
        scores: tuple[GainOver, ...] = ()
        if ended and outcome == SCORED:
            looks += 1
            effect, count = times.effect("explore", address, looks), len(times.logs("explore", address))
            low, high = (effect.low, effect.high) if effect else (None, None)
            scores = (GainOver(asked["operator"], ended["gain"], low, high, UNIT, f"in {count} timings", looks),)
        spent_s = sum(one["wall_s"] for one in KernelTimings(archive, run).of("explore", address))
        told.append(
            Feedback(
                number=row["number"], address=address, name=row["name"], author=row["author"] or asked["researcher"],
                word=word_of(outcome, scores, holds=True), outcome=outcome, rung=0 if scores else -1, rungs=1,
                holds=True, scores=scores, told=(outcome.reason,) if outcome and outcome != SCORED else (), trials=0,
                cpu_s=spent_s, tokens=0, looks=looks,
            )
        )  # fmt: skip
    return told


def kernel_standings(archive: Archive, run: str) -> list[Row]:
    """The proposals of a run, the best first."""
    return ranked(feedback_of(archive, run))


class KernelDesk:
    """Answers for one campaign of kernels at one tier. Errors are those of `KernelDoor`."""

    def __init__(self, run: KernelRun) -> None:
        self.run, self.door = run, KernelDoor(run)

    def propose(self, files: Mapping[str, str], *, parent: str, idea: str, author: str) -> Row:
        """Referee sources by the names of their files; what is known already is told what it got, and costs nothing."""
        door, found = self.door, list[tuple[str, Twin | None, int | None, str]]()
        for file, source in files.items():
            if len(source) > LONGEST_CODE or "\0" in source:
                text = f"a kernel is text of at most {LONGEST_CODE:,} characters without NUL; write it anew"
                raise CandidateError(text)
            twin, name = door.known(source), PurePath(file).stem
            number = twin.number if twin else door.propose(source, name=name, author=author, parent=parent, idea=idea)
            found.append((file, twin, number, "" if number is None else self._judged(number)))
        heard = feedback_of(self.run.archive, self.run.run)
        return self._of_campaign() | {
            "run": self.run.run,
            "left": {"candidates": door.budget - door.proposed},
            "proposals": [
                {"file": file, "known_as": twin and asdict(twin), "word": "rejected"}
                | ({} if number is None else as_data(_noted(heard[number], note)))
                for file, twin, number, note in found
            ],
        }

    def _judged(self, number: int) -> str:
        """Why a proposal has no time yet; empty where it has an outcome."""
        try:
            self.run.judge(number)
        except NotMeasuredError as error:
            return str(error)
        return ""

    def brief(self, author: str) -> Row:
        """What a researcher may know before the next proposal, as data and as a page."""
        self.door.require(1)
        context = self.run.context(self.door.proposed)
        told = {"number": context.index, "brief": self._page(context), "context": as_json(context)}
        return self._of_campaign() | told

    def _page(self, context: Context) -> str:
        operator, parent = self.run.operator, context.parent
        gain = parent.scores.get("gain")
        text = BRIEF.format(
            label=self.run.label, number=context.index, operator=operator, tensors=", ".join(OPERATORS[operator]),
            lean=LEAN, definition=inspect.getdoc(SHIPPED[operator].call), source=parent.source,
            parent=parent.name + (f", gain {gain:+.4f} {UNIT}" if gain is not None else ""),
        )  # fmt: skip
        failed = [f"- {one.name}: {one.gate}: {one.reason}" for one in context.failed]
        return text + ("\n## What was turned away\n\n" + "\n".join(failed) + "\n" if failed else "")

    def tried(self, file: str, source: str) -> Row:
        """Whether a source is known by its program."""
        twin = self.door.known(source)
        return {"file": file, "known_as": twin and asdict(twin)}

    def verdict(self) -> Row:
        """What verify and confirm say, run where they have not been: the door is closed then."""
        for stage in STAGES:
            self.run.ensure(stage)
        found = self.run.outcome()
        return self._of_campaign() | {"verdict": found.explain(), "decision": found.decision or "cannot tell"}

    def _of_campaign(self) -> Row:
        return {"campaign": self.run.label, "tier": self.run.tier}


def _noted(feedback: Feedback, note: str) -> Feedback:
    return replace(feedback, told=(note,)) if note else feedback
