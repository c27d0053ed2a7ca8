"""The one place where whatever a candidate raises is turned into a finding."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from asiarc.core.errors import CandidateError
from asiarc.execution.attempt import raised_by

T = TypeVar("T")

CANDIDATE_FILE = "<candidate_"


class ContractError(Exception):
    """A candidate returned something that the candidate contract does not allow; the text says what."""


@dataclass(frozen=True)
class CandidateFailure:
    """What a candidate raised: the text names the exception and the last line of the candidate that was running."""

    text: str


def guarded(call: Callable[[], T]) -> T | CandidateFailure:
    """The value of `call()`, or the failure of the candidate that it ran.

    An exception is the candidate's when one of its own lines was running, when torch raised it as a
    RuntimeError (a backward pass has no candidate frame), when a method of Mixer does not take what the contract
    gives it, or when it says itself that the contract is broken. Any other is a fault of the gates and passes through.
    """
    value, error = raised_by(call)
    if error is None:
        return cast(T, value)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename.startswith(CANDIDATE_FILE)]
    refused = isinstance(error, TypeError) and str(error).startswith("Mixer.")
    own = lines or refused or isinstance(error, (RuntimeError, ContractError, CandidateError))
    if not (isinstance(error, Exception) and own):
        raise error
    return CandidateFailure(_describe(error, lines[-1] if lines else None))


def _describe(error: Exception, line: int | None) -> str:
    text = " ".join(str(error).split())[:300]
    if isinstance(error, (ContractError, CandidateError)):
        return text
    where = f" at line {line} of the candidate" if line else ""
    return f"raised {type(error).__name__}: {text}{where}"
