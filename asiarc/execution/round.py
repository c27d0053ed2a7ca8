"""The run loop of every executor that keeps warm workers: `Warm`; one call of its `run`: `Round`.

An executor says how its workers start, take a job and answer; the queue, the second try of a job whose worker was
lost, and what Ctrl-C means are the same for all.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Self

from asiarc.execution.job import Job, OnResult, Result

_log = logging.getLogger(__name__)
TRIES = 2


class Round:
    """One call of `run`: what waits, what runs where, what is done."""

    def __init__(self, jobs: Sequence[Job], on_result: OnResult | None) -> None:
        self.jobs = jobs
        self.on_result = on_result
        self.waiting = deque(range(len(jobs)))
        self.running: dict[Any, int] = {}
        self.results: list[Result | None] = [None] * len(jobs)
        self.tries = [0] * len(jobs)
        self.failed_starts = 0
        self.last_failure = ""

    @property
    def open(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self.waiting or self.running)

    def deliver(self, index: int, result: Result) -> None:
        """A job is done: keep its result and pass it on."""
        self.results[index] = result
        if self.on_result is not None:
            self.on_result(index, result)

    def lost(self, index: int, reason: str) -> None:
        """A job's worker is gone through no fault of the job: again at the front of the queue, once."""
        self.tries[index] += 1
        if self.tries[index] < TRIES:
            self.waiting.appendleft(index)
        else:
            self.deliver(index, Result("infrastructure", reason=f"{reason} (tried {TRIES} times)"))

    def give_up(self) -> None:
        """No worker starts: what waits cannot run."""
        while self.waiting:
            self.deliver(self.waiting.popleft(), Result("infrastructure", reason=self.last_failure))


@contextlib.contextmanager
def two_interrupts() -> Iterator[threading.Event]:
    """Set the event at the first SIGINT and raise KeyboardInterrupt at the second (in the main thread
    only)."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on_interrupt(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        _log.warning("Ctrl-C: the running jobs finish, no new one starts; Ctrl-C again ends them at once")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


class Warm(ABC):
    """An executor over warm workers: a context manager; workers start with the first job and stay until the end.

    A job whose worker is lost under it is tried once more, then ``"infrastructure"``. First Ctrl-C during `run`: no
    new job starts, the running ones finish and are delivered, then KeyboardInterrupt. Second Ctrl-C: everything ends
    at once.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, jobs: Sequence[Job], on_result: OnResult | None = None) -> list[Result]:
        """As `Executor.run`."""
        round_ = Round(jobs, on_result)
        try:
            with two_interrupts() as asked:
                while round_.open:
                    if asked.is_set():
                        round_.waiting.clear()
                    self._staff(round_)
                    self._serve(round_)
                if asked.is_set():
                    raise KeyboardInterrupt
        finally:
            if round_.running:  # a job may not outlive the call that asked for it
                self.close()
        return [result for result in round_.results if result is not None]

    def _staff(self, round_: Round) -> None:
        """Start workers while some are missing, and give every idle one a job."""
        ready, starting = self._staffing()
        if round_.failed_starts >= TRIES and not ready:
            round_.give_up()
        wanted = min(self.most_workers, len(round_.waiting) + len(round_.running))
        for _ in range(wanted - ready - starting):
            self._start_worker()
        while round_.waiting and (worker := self._idle_worker()) is not None:
            index = round_.waiting.popleft()
            round_.running[self._give(worker, round_.jobs[index])] = index

    @property
    @abstractmethod
    def most_workers(self) -> int:
        """How many jobs may run at once, now."""

    @abstractmethod
    def close(self) -> None:
        """End every worker, whatever it does; the executor can be used again."""

    @abstractmethod
    def _staffing(self) -> tuple[int, int]:
        """How many workers are ready (idle or at work), and how many are starting."""

    @abstractmethod
    def _start_worker(self) -> None: ...

    @abstractmethod
    def _idle_worker(self) -> Any:
        """A worker that could take a job now, or None."""

    @abstractmethod
    def _give(self, worker: Any, job: Job) -> Any:
        """Start a job on an idle worker; what `Round.running` knows it by."""

    @abstractmethod
    def _serve(self, round_: Round) -> None:
        """Wait a moment for the workers; deliver what they answer, and note those that were lost."""
