"""A folder in the place of a server: a question goes out as a file, and its reply comes in as one.

``0001.question.md`` is what is asked, for whoever reads it (``0001.question.json`` the same as data, with the hash of
the question); ``0001.reply.md`` is the answer. A question keeps its number however often it is asked, so that a run
that was stopped finds the replies that came meanwhile. There is no limit of time. A reply counts when it is whole: it
was moved there under its name, or has not changed for `settle_s`.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Lock

from asiarc.llm.exchange import EMBEDDING, ModelError, Question, Reply, ReplyFault

PREFIX = "file:"
SETTLE_S = 2.0
LOOK_S = 0.5  # between two looks
MOST_BYTES = 2_000_000


def folder_of(base_url: str) -> Path | None:
    """The folder that an address names (``file:DIR`` or ``file:///DIR``); None for what is no such address."""
    if not base_url.startswith(PREFIX):
        return None
    path = base_url.removeprefix(PREFIX)
    return Path(path.removeprefix("//") if path.startswith("///") else path).expanduser()


@dataclass
class Folder:
    """Asks in a folder. `pause` waits between two looks (True: it was stopped), `now` is seconds since 1970: both are
    for tests. `learned` is what is said of it, once."""

    path: Path
    settle_s: float = SETTLE_S
    pause: Callable[[float], bool] | None = None
    now: Callable[[], float] = time.time
    learned: deque[str] = field(default_factory=deque, repr=False)
    _stopped: Event = field(default_factory=Event, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __post_init__(self) -> None:
        self.learned.append(
            f"questions are asked in {self.path.absolute()}: answer 0001.question.md in 0001.reply.md, and so on "
            "(written under another name and renamed, it is whole); this waits, and Ctrl-C loses nothing"
        )

    def send(self, question: Question) -> Reply:
        """The reply to a question, when it comes; `ModelError` where the folder cannot be used, or it was stopped."""
        if question.role == EMBEDDING:
            why = f"a folder gives no vectors, and {question.model} was asked for one; leave models.embedding out"
            raise ModelError("bad request", why)
        try:
            with self._lock:
                number = self._number(question)
            return self._reply(question, self.path / f"{number:04}.reply.md")
        except OSError as error:
            raise ModelError("unreachable", f"the folder {self.path} cannot be used: {error}") from error

    def stop(self) -> None:
        """Wait no longer: what is asked stays asked."""
        self._stopped.set()

    def _number(self, question: Question) -> int:
        """The number under which a question is asked, now or since an earlier run."""
        self.path.mkdir(parents=True, exist_ok=True)
        asked = sorted(self.path.glob("[0-9]*.question.json"))
        for file in asked:
            if json.loads(file.read_text(encoding="utf-8"))["key"] == question.key:
                return int(file.name.partition(".")[0])
        number = max((int(file.name.partition(".")[0]) for file in asked), default=0) + 1
        self._write(f"{number:04}.question.md", as_page(question, number))
        self._write(f"{number:04}.question.json", json.dumps({"key": question.key, **asdict(question)}, indent=1))
        return number

    def _write(self, name: str, text: str) -> None:
        """A file, whole or not at all."""
        partial = self.path / f".{name}.part"
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(self.path / name)

    def _reply(self, question: Question, file: Path) -> Reply:
        while not self._is_whole(file):
            if (self.pause or self._stopped.wait)(LOOK_S):
                raise ModelError("unreachable", f"nobody has written {file} yet; run the same command again")
        with file.open("rb") as opened:
            said = opened.read(MOST_BYTES + 1)
        fault: ReplyFault | None = "too long" if len(said) > MOST_BYTES else None
        # nobody counts tokens here: the worst case is booked, as for a server that counts none
        return Reply(
            text=said.decode("utf-8-sig", errors="replace"), fault=fault, prompt_tokens=question.most_prompt_tokens,
            completion_tokens=question.max_tokens, counted=False, note="",
        )  # fmt: skip

    def _is_whole(self, file: Path) -> bool:
        try:
            found = file.stat()
        except FileNotFoundError:
            return False
        return found.st_size > 0 and (self._was_moved(found) or self.now() - found.st_mtime >= self.settle_s)

    @staticmethod
    def _was_moved(found: os.stat_result) -> bool:
        """Whether a file's place changed after its text."""
        return found.st_ctime_ns > found.st_mtime_ns


def as_page(question: Question, number: int) -> str:
    """A question as a page to read, with what it is for and where its answer goes."""
    head = (
        f"<!-- question {number} to the {question.role} ({question.model}), at most {question.max_tokens:,} tokens; "
        f"write the answer, and nothing else, into {number:04}.reply.md -->"
    )
    said = [message.text if message.speaker != "assistant" else f"> your reply was:\n\n{message.text}"
            for message in question.messages]  # fmt: skip
    return "\n\n---\n\n".join([head, *said]) + "\n"
