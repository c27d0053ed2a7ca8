"""The line between a job and its referee: whole messages over two pipes, exact and bounded.

The referee holds what the job is judged by and runs outside the sandbox. All that passes are bytes whose size the
reader says in advance, so neither side can make the other read without end.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from asiarc.execution import frames


class LineError(Exception):
    """The other side hung up, or said what was not asked for."""


@dataclass(frozen=True)
class Line:
    """One side's two descriptors."""

    reads: int
    writes: int

    @classmethod
    def pair(cls) -> tuple[Line, Line]:
        """Both sides of a new line."""
        (here_r, there_w), (there_r, here_w) = os.pipe(), os.pipe()
        return cls(here_r, here_w), cls(there_r, there_w)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What stays open in the job's process."""
        return self.reads, self.writes

    def send(self, message: bytes) -> None:
        """Write one message whole; `LineError` where nobody reads any more."""
        try:
            frames.send(self.writes, message)
        except BrokenPipeError as error:
            raise LineError("the other side hung up") from error

    def receive(self, limit: int) -> bytes:
        """The next message, of at most `limit` bytes; `LineError` for a longer one, or at the line's end."""
        try:
            return frames.receive(self.reads, limit)
        except (EOFError, ValueError) as error:
            raise LineError(str(error)) from error

    def close(self) -> None:
        """Let go of this side's descriptors in this process."""
        os.close(self.reads)
        os.close(self.writes)
