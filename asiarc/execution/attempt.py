"""The one place that catches everything, `raised_by`, and how a call becomes a value or a `Caught`.

Whatever a candidate raises, `SystemExit` and exceptions whose own text raises included, ends here and nowhere
else.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from asiarc.core.plain import plain

T = TypeVar("T")

TEXT_LIMIT = 4000
_OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "not enough memory")


@dataclass(frozen=True)
class Caught:
    """An exception as text: its type, its message, the last line that is the candidate's, the end of its
    traceback."""

    type: str
    message: str = "(cannot be described)"
    place: str = ""
    out_of_memory: bool = False

    def __str__(self) -> str:
        where = f" (at {self.place})" if self.place else ""
        return f"{self.type}: {self.message}{where}" if self.message else f"{self.type}{where}"


def attempt(call: Callable[[], Any]) -> tuple[Any, Caught | None]:
    """Return `(call(), None)`, or `(None, failure)` if it raises anything at all."""
    return _attempt(call, _describe)


def raised_by(call: Callable[[], T]) -> tuple[T, None] | tuple[None, BaseException]:
    """Return `(call(), None)`, or `(None, exception)` if it raises anything at all: for who looks at the exception and
    raises again what it does not know."""
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001
        return None, error


def _attempt(call: Callable[[], Any], describe: Callable[[BaseException], Caught]) -> tuple[Any, Caught | None]:
    value, caught = raised_by(call)
    if caught is None:
        return value, None
    if describe is _named:
        return None, _named(caught)
    # Describing runs the exception's own code, which may raise in turn.
    described, trouble = _attempt(lambda: describe(caught), _named)
    return None, _named(caught) if trouble else described


def _named(error: BaseException) -> Caught:
    """The exception's type and no more: runs no code of the exception's own, past any metaclass."""
    return Caught(type.__dict__["__name__"].__get__(type(error)))


def _describe(error: BaseException) -> Caught:
    name, message = type(error).__name__, str(error)
    says_so = issubclass(type(error), (RuntimeError, OSError)) and any(
        text in message.lower() for text in _OUT_OF_MEMORY
    )
    out_of_memory = issubclass(type(error), MemoryError) or name == "OutOfMemoryError" or says_so
    return Caught(name[:200], plain(message, TEXT_LIMIT), plain(_place(error.__traceback__), 200), out_of_memory)


def _place(trace: TracebackType | None) -> str:
    """The innermost line of a candidate (its code is compiled from a text named ``<candidate_...>``); without
    one, where it was raised.
    """
    frames = list(traceback.extract_tb(trace, limit=-100))
    for frame in reversed(frames):
        if frame.filename.startswith("<candidate"):
            return f"line {frame.lineno}: {frame.line}"
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
