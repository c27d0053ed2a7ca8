"""One call of an executor's `run`: what waits, what runs where, what is done; and what Ctrl-C means to it."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

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
