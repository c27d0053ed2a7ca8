"""The researcher that is a language model: briefed, asked, read, checked for novelty, and asked to mend.

A proposal is a function of the context and of the tape: in a replay the same context gives the same proposal. The
model, the temperature and the instruction are chosen by bandit and seed. What cannot be used is still a proposal: it
holds what came, and its failure says why nothing can be built of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from asiarc.cognition.base import shipped
from asiarc.cognition.dense import Dense
from asiarc.cognition.library import read_around
from asiarc.core.candidate import address_of
from asiarc.core.digest import digest
from asiarc.core.proposal import Context, Earlier, Failure, Proposal
from asiarc.core.seeds import rng_of, seed_of
from asiarc.llm.client import Ask, Client
from asiarc.llm.embedding import Embedder
from asiarc.llm.exchange import Question, UnusableReplyError
from asiarc.researcher import bandit, briefing
from asiarc.researcher.ideas import UNSAID, Idea, origins_of, predicted_text, read_idea
from asiarc.researcher.novelty import Duplicate, duplicate_of, nearest, nearest_by_vector

if TYPE_CHECKING:
    from asiarc.campaign.declaration import Models


class LlmResearcher:
    """Proposes by asking `models.researcher`; `checks` names the novelty checks that it makes itself, `own` entries of
    the user's."""

    def __init__(self, client: Client, models: Models, checks: Sequence[str] = (), own: tuple[str, ...] = ()) -> None:
        self.client, self.models, self.checks, self.own = client, models, checks, own

    def propose(self, context: Context) -> Proposal:
        """A proposal; one that is not new goes back with what it duplicates, `models.redraws` times."""
        context = self._read_by_meaning(context)
        question = self._question(context)
        place = f"{context.index} propose"
        for redraw in range(self.models.redraws + 1):
            try:
                idea = self._ask(question, place, context.parent.source, context.tasks)
            except UnusableReplyError as error:
                return _unusable(context, error)
            found = self._duplicate(idea, context)
            if found is None:
                return _proposal(context, idea)
            told = briefing.duplicate(found.of, found.reason, seed_of(context.seed, "duplicate", redraw))
            question = question.followed_by(idea.model_dump_json(), told)
        assert found is not None
        gate = f"it is {found.of.name} ({found.of.address}) again: {found.reason}"
        return replace(_proposal(context, idea), failure=_failure(idea.source, "novelty", gate))

    def revise(self, proposal: Proposal, failure: Failure, number: int, version: int) -> Proposal:
        """The proposal mended after a gate's reason by the model that made it, with the reasons and predictions that
        came back with it; nothing usable is a failure, too."""
        seed = seed_of(digest([proposal.source, failure.gate, failure.reason]), number, version)
        tasks = self._tasks_of(proposal)
        question = Question(
            role="researcher",
            model=self._author(number),
            messages=briefing.revise(
                proposal, failure, seed, tasks, tokens=self.models.context_tokens, structured=self.models.structured
            ),
            max_tokens=self.models.reply_tokens,
            temperature=self._temperature(seed),
            seed=seed,
            schema=briefing.schema() if self.models.structured else None,
        )
        try:
            idea = self._ask(question, f"{number} revise {version}", proposal.source, ())
        except UnusableReplyError as error:
            return replace(proposal, failure=_failure(error.last, "reply", str(error)))
        return _mended(proposal, idea)

    def _read_by_meaning(self, context: Context) -> Context:
        """With the entries that an embedding endpoint finds for the same queries; without an endpoint, or where nothing
        is read (an arm without cognition), as it is."""
        if self._embedder is None or not context.queries:
            return context
        find = Dense(shipped(self.own), self._embedder).search
        return replace(context, cognition=read_around(context.queries, context.seed, find=find, own=self.own))

    def _author(self, number: int) -> str:
        """The model that a proposal came from, by the tape; the first one where that is not asked any more."""
        model = self.client.tape.model_at(f"{number} propose")
        return model if model in self.models.researcher else self.models.researcher[0]

    @staticmethod
    def _tasks_of(proposal: Proposal) -> tuple[str, ...]:
        return tuple(word.split()[0] for word in proposal.predicted.split(", ") if " " in word)

    def _question(self, context: Context) -> Question:
        return Question(
            role="researcher",
            model=bandit.choose(self.models.researcher, context.tried),
            messages=briefing.propose(context, tokens=self.models.context_tokens, structured=self.models.structured),
            max_tokens=self.models.reply_tokens,
            temperature=self._temperature(context.seed),
            seed=seed_of(context.seed, "reply"),
            schema=briefing.schema() if self.models.structured else None,
        )

    def _temperature(self, seed: int) -> float | None:
        return rng_of(seed, "temperature").choice(self.models.temperatures or (None,))

    def _ask(self, question: Question, place: str, parent: str, tasks: Sequence[str]) -> Idea:
        read: Callable[[str], Idea] = lambda text: read_idea(text, parent=parent, tasks=tasks)  # noqa: E731
        return self.client.ask(Ask(question, read, place))

    # --- novelty --------------------------------------------------------------------------------------------------

    def _duplicate(self, idea: Idea, context: Context) -> Duplicate | None:
        """What the idea was proposed as before: the same program, or by a model's word the same motivation."""
        address = address_of(idea.source)
        if "syntax" in self.checks and address in context.known | {context.parent.address}:
            return Duplicate(_known(address, context), "the programs are the same but for comments and layout")
        if "motivation" not in self.checks or self.models.checker is None:
            return None
        near = self._nearest(idea.motivation, context)
        place, seed = f"{context.index} check", seed_of(context.seed, "check", address)
        return duplicate_of(
            self.client, self.models.checker, idea.motivation, near, seed=seed, max_tokens=500, place=place
        )

    @cached_property
    def _embedder(self) -> Embedder | None:
        return Embedder(self.client, self.models.embedding) if self.models.embedding else None

    def _nearest(self, motivation: str, context: Context) -> list[Earlier]:
        """By the embedding endpoint where there is one and its vectors can be used, else by words."""
        if self._embedder is None or not context.earlier:
            return nearest(motivation, context.earlier)
        try:
            vectors = self._embedder.vectors([motivation, *(idea.motivation for idea in context.earlier)])
        except UnusableReplyError:
            return nearest(motivation, context.earlier)
        return nearest_by_vector(vectors, context.earlier)


def _known(address: str, context: Context) -> Earlier:
    """An earlier candidate by its address, with what is known of it."""
    relatives = (context.parent, *context.references, *context.siblings)
    shown = (Earlier(address=r.address, name=r.name, motivation=r.motivation) for r in relatives)
    unknown = Earlier(address=address, name="an earlier candidate", motivation="")
    return next((e for e in (*shown, *context.earlier) if e.address == address), unknown)


def _failure(source: str, gate: str, reason: str) -> Failure:
    return Failure(address=address_of(source), gate=gate, reason=reason)


def _proposal(context: Context, idea: Idea) -> Proposal:
    relatives = (context.parent, *context.references, *context.siblings)
    shown = {hit.entry for hit in context.cognition} | {relative.address for relative in relatives}
    return Proposal(
        source=idea.source,
        name=f"{idea.name}_{address_of(idea.source)[:6]}",
        motivation=idea.motivation,
        origins=origins_of(idea, shown),
        parents=(context.parent.address,),
        genome=None,
        predicted=predicted_text(idea.predicted),
    )


def _mended(proposal: Proposal, idea: Idea) -> Proposal:
    """A proposal with what a revision brought; what the revision leaves unsaid stays."""
    shown = {origin.reference for origin in proposal.origins}
    return replace(
        proposal,
        source=idea.source,
        motivation=proposal.motivation if idea.motivation == UNSAID else idea.motivation,
        predicted=predicted_text(idea.predicted) if idea.predicted else proposal.predicted,
        origins=origins_of(idea, shown) or proposal.origins,
        failure=None,
    )


def _unusable(context: Context, error: UnusableReplyError) -> Proposal:
    """What did come, kept under its own address, with the reason that nothing can be built of it."""
    text = error.last.encode(errors="replace").decode().replace("\0", "\\0")
    source = f"{text}\n# reply to proposal {context.index}\n"
    return Proposal(
        source=source,
        name=f"unusable_reply_{context.index}",
        motivation="",
        origins=(),
        parents=(context.parent.address,),
        genome=None,
        predicted="nothing",
        failure=_failure(source, "reply", str(error)),
    )
