"""The client: asks, records, replays. Everything that a campaign wants of a language model goes through it.

Modes: *replay* answers from the tape and never opens a connection; *record* answers from the tape and asks for what
is not on it; *live* asks for everything once and keeps it too. A reply that broke off is asked for again; one that
cannot be read is returned to the model with what is wrong; a refusal is not argued with. All of it is on the tape, so a
replay takes the same turns and books the same spend.

Only the sending happens in threads. Tape and ledger are used by the caller's thread alone, and replies that are still
under way when something ends the round are waited for and kept: they are paid for.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

from asiarc.llm.exchange import BROKEN, Exchange, ModelError, Question, ReplayMissError, Reply, UnusableReplyError
from asiarc.llm.ledger import Ledger
from asiarc.llm.reading import ReadingError
from asiarc.llm.tape import Tape, what_changed

Mode = Literal["replay", "record", "live"]
MODES: tuple[Mode, ...] = get_args(Mode)
T = TypeVar("T")
BROKEN_TRIES = 3
CLIPPED = 6000  # characters of a bad reply that go back with its correction
ADVICE = {
    "truncated": "Your reply was cut off at the limit of {limit} tokens. Answer again, complete and shorter.",
    "too long": "Your reply was far too long to be read. Answer again, in the asked form and much shorter.",
    "tool call": "You called a tool, and there are none. Write the answer itself, in the asked form.",
}


@dataclass(frozen=True)
class Ask(Generic[T]):
    """A question, how its reply is read (`ReadingError` where it cannot be), and what it is for."""

    question: Question
    read: Callable[[str], T]
    place: str


class Asked(Protocol):
    """Where questions are sent, from several threads: a server, or a folder. `learned` is what should be said of it."""

    learned: deque[str]

    def send(self, question: Question) -> Reply:
        """One reply, complete or not; `ModelError` where none could be had."""
        ...

    def stop(self) -> None:
        """The round has ended early: wait no longer for what costs nothing to ask again."""
        ...


Turns = Generator[Question, tuple[Reply, bool], Any]  # yields what to ask, is sent the reply and whether it is new


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


class Client:
    """Asks language models over a tape and a ledger; without an endpoint it can only replay."""

    def __init__(
        self,
        tape: Tape,
        ledger: Ledger,
        mode: Mode = "replay",
        endpoint: Asked | None = None,
        *,
        repairs: int = 1,
        frequency_penalty: float | None = None,
        workers: int = 4,
        say: Callable[[str], None] = _to_stderr,
    ) -> None:
        assert mode in MODES and (endpoint is not None or mode == "replay"), mode
        self.tape, self.ledger, self.mode, self.endpoint = tape, ledger, mode, endpoint
        self.repairs, self.frequency_penalty, self.workers = repairs, frequency_penalty, workers
        self.say = say
        self._asked: set[str] = set()  # what this client asked: live reuses that, and nothing older
        self._booked: set[str] = set()  # what this client booked: an exchange costs once, however often it is used

    def ask(self, ask: Ask[T]) -> T:
        """The reply as `ask.read` makes it; what it refuses goes back to the model `repairs` times.

        Raises:
            UnusableReplyError: replies were had, and none could be used.
            ModelError: no reply could be had.
            BudgetExhaustedError: the next call might have crossed a cap; it was not made.
            ReplayMissError: in replay, the question was never recorded.
        """
        answer = self.ask_all([ask])[0]
        if isinstance(answer, UnusableReplyError):
            raise answer
        return answer

    def ask_all(self, asks: Sequence[Ask[T]]) -> list[T | UnusableReplyError]:
        """Several questions, `workers` at a time, answered in order; what is unusable is handed back, not raised."""
        answers: dict[int, T | UnusableReplyError] = {}
        turns = [self._turns(ask) for ask in asks]
        flying: dict[Future[Reply], tuple[int, Question]] = {}
        pool = ThreadPoolExecutor(self.workers)

        def advance(index: int, said: tuple[Reply, bool] | None) -> None:
            """Give a conversation its reply, and the next one as long as the tape has it."""
            try:
                while True:
                    question = next(turns[index]) if said is None else turns[index].send(said)
                    recorded = self._recorded(question, asks[index].place)
                    if recorded is None:
                        flying[self._submit(pool, question, asks[index].place)] = index, question
                        return
                    said = recorded, False
            except StopIteration as done:
                answers[index] = done.value
            except UnusableReplyError as error:
                answers[index] = error

        def land(future: Future[Reply]) -> None:
            index, question = flying.pop(future)
            advance(index, (self._keep(question, future, asks[index].place), True))

        try:
            for index in range(len(asks)):
                if len(flying) >= self.workers:
                    land(next(iter(wait(flying, return_when=FIRST_COMPLETED).done)))
                advance(index, None)
            while flying:
                land(next(iter(wait(flying, return_when=FIRST_COMPLETED).done)))
        finally:
            self._keep_what_comes(pool, flying, asks)
        return [answers[index] for index in range(len(asks))]

    def _turns(self, ask: Ask[T]) -> Generator[Question, tuple[Reply, bool], T]:
        """One conversation: the question, and what is said after replies that cannot be used."""
        question = replace(ask.question, frequency_penalty=self.frequency_penalty)
        for repair in range(self.repairs + 1):
            reply = yield from _unbroken(question)
            fault, reason = str(reply.fault), _with_note(f"the reply ended as {reply.fault!r}", reply)
            if reply.fault is None:
                try:
                    return ask.read(reply.text)
                except ReadingError as error:
                    fault, reason = error.fault, _with_note(str(error), reply)
            if fault == "refusal" or repair == self.repairs:
                break
            advice = ADVICE.get(fault, f"Your reply cannot be used: {reason}. Answer again in the asked form.")
            correction = advice.replace("{limit}", str(question.max_tokens))
            question = question.followed_by(reply.text[:CLIPPED], correction)
        raise UnusableReplyError(fault, reason, reply.text)

    # --- the tape and the endpoint --------------------------------------------------------------------------------

    def _recorded(self, question: Question, place: str) -> Reply | None:
        """The reply on the tape, booked; in replay there is one, or an error."""
        may_reuse = self.mode != "live" or question.key in self._asked
        exchange = self.tape.get(question, place) if may_reuse else None
        if exchange is not None:
            self._book(question, exchange.reply, reused=True)
            return exchange.reply
        if self.mode == "replay":
            raise self._miss(question, place)
        return None

    def _book(self, question: Question, reply: Reply, *, reused: bool) -> None:
        if not reused or question.key not in self._booked:
            self.ledger.settle(question, reply, reused=reused)
        self._booked.add(question.key)

    def _submit(self, pool: ThreadPoolExecutor, question: Question, place: str) -> Future[Reply]:
        assert self.endpoint is not None, place
        self.ledger.reserve(question)
        self._asked.add(question.key)
        self._pass_on()
        return pool.submit(self.endpoint.send, question)

    def _keep(self, question: Question, future: Future[Reply], place: str) -> Reply:
        """The reply of a call that has ended, on the tape and booked; its error where it brought none."""
        self._pass_on()
        if future.exception() is not None:
            self.ledger.release(question)
        reply = future.result()
        self._book(question, reply, reused=False)
        self.tape.put(Exchange(question, reply), place)
        return reply

    def _pass_on(self) -> None:
        """Say what the endpoint has learned; the caller's thread does it."""
        while self.endpoint is not None and self.endpoint.learned:
            self.say(self.endpoint.learned.popleft())

    def _keep_what_comes(
        self, pool: ThreadPoolExecutor, flying: dict[Future[Reply], tuple[int, Question]], asks: Sequence[Ask[T]]
    ) -> None:
        if flying and self.endpoint is not None:
            self.endpoint.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        for future, (index, question) in flying.items():
            if future.cancelled() or future.exception() is not None:
                self.ledger.release(question)
            else:
                self._keep(question, future, asks[index].place)

    def _miss(self, question: Question, place: str) -> ReplayMissError:
        head = f"replay: {question.role} ({place}) asks {question.model} what was never recorded"
        then = "Record it with --llm record (needs a key or --llm-base-url), or undo the change"
        near = self.tape.nearest(question, place)
        if near is None:
            return ReplayMissError(f"{head}, nor anything like it. {then}.")
        return ReplayMissError(
            f"{head}. Against exchange {near.question.key}:\n{what_changed(near.question, question)}\n{then}."
        )


def _with_note(text: str, reply: Reply) -> str:
    return f"{text} ({reply.note})" if reply.note else text


def _unbroken(question: Question) -> Generator[Question, tuple[Reply, bool], Reply]:
    """The first reply to a question that did not break off; `ModelError` after three new ones that did."""
    broken = 0
    while True:
        reply, is_new = yield question
        if reply.fault not in BROKEN:
            return reply
        broken += is_new
        if broken == BROKEN_TRIES:
            raise ModelError(
                "broken replies",
                f"{question.model} broke off {broken} replies in a row, "
                f"{_with_note(f'the last one as {reply.fault!r}', reply)}; what came is kept: run the same command "
                "again",
            )
        question = question.again()
