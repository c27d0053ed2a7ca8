"""The verdict on one job: `judge` turns a supervisor's account into a `Result`.

It is the only reader of what a job sent, and takes nothing in it for granted: the bytes are bounded already, here
they must be one JSON object with finite numbers and whole characters.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from asiarc.core.plain import plain
from asiarc.execution.attempt import Caught
from asiarc.execution.job import Limits, Result, Status

_TAIL = 500
Seconds = Annotated[float, Field(ge=0, le=2**40, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Joules = Annotated[float, Field(ge=0, le=2**60, allow_inf_nan=False)]


class _Broken(BaseModel, strict=True):
    broken: str


class _Spent(BaseModel, strict=True, from_attributes=True):
    wall_s: Seconds
    cpu_s: Seconds
    peak_memory_bytes: Whole
    parts_cpu_s: tuple[Seconds, ...] = ()
    parts_wall_s: tuple[Seconds, ...] = ()
    energy_j: Joules | None = None
    gpu_memory_bytes: Whole | None = None
    notes: tuple[str, ...] = ()


class _Account(_Spent):
    """What a supervisor says of a job."""

    signal: Annotated[int, Field(ge=0, le=64)]
    code: Annotated[int, Field(ge=0, le=255)]
    timed_out: bool
    tail: str
    kind: str
    held: tuple[str, ...]
    forged: bool
    too_large: bool


class _Sound(_Spent):
    """A result whose every field is what it should be."""

    status: Status
    value: dict[str, Any] | None
    reason: str
    layers: tuple[str, ...]


class _Verdict(BaseModel, strict=True):
    """What a referee says."""

    value: dict[str, Any] | None
    failure: str
    cpu_s: Seconds


_LINE: TypeAdapter[_Account | _Broken] = TypeAdapter(_Account | _Broken)
_VERDICT: TypeAdapter[_Verdict | None] = TypeAdapter(_Verdict | None)
_CAUGHT: TypeAdapter[Caught] = TypeAdapter(Caught)


def judge(message: bytes, limits: Limits) -> Result:
    """Turn a worker's reply, the referee's verdict and the supervisor's account, into a result.

    A judged job's value is its referee's and nobody else's; without one it has none.
    """
    line, _, account = message.partition(b"\n")
    result = account_result(account, limits)
    try:
        verdict = _VERDICT.validate_json(line)
    except ValidationError as error:
        return _unreadable("verdict", error)
    if verdict is None or result.status == "infrastructure":
        return result
    spent = (*result.parts_cpu_s, verdict.cpu_s)
    result = replace(result, cpu_s=result.cpu_s + verdict.cpu_s, parts_cpu_s=spent)
    if verdict.failure:
        reason = plain(f"the referee failed: {verdict.failure}")
        return replace(result, status="infrastructure", value=None, reason=reason)
    if result.status != "ok" or verdict.value is not None:
        return replace(result, value=verdict.value if result.status == "ok" else None)
    return replace(result, status="crashed", value=None, reason="the job ended before its referee was done")


def account_result(message: bytes, limits: Limits) -> Result:
    """Turn a supervisor's account into a result: the only reader of what a job sent."""
    line, _, text = message.partition(b"\n")
    try:
        account = _LINE.validate_json(line)
    except ValidationError as error:
        return _unreadable("account", error)
    if isinstance(account, _Broken):
        return Result("infrastructure", reason=plain(account.broken))
    status, reason, value = _verdict(account, text, limits)
    tail = plain(account.tail.strip()[-_TAIL:])
    if tail and status != "ok" and account.kind != "F":  # an exception says enough
        reason = f"{reason}; last output: {tail}"
    spent = {name: getattr(account, name) for name in _Spent.model_fields}
    return Result(status, value, plain(reason), layers=account.held, **spent)


def sound(result: object) -> Result:
    """The result, where it is one; a crash that says what it is not otherwise."""
    return _sound(lambda: _Sound.model_validate(result))


def received(text: str) -> Result:
    """As `sound`, of a result that came as JSON from another machine."""
    return _sound(lambda: _Sound.model_validate_json(text))


def _sound(read: Callable[[], _Sound]) -> Result:
    try:
        found = read()
    except ValidationError as error:
        return _unreadable("result", error)
    texts = {"reason": plain(found.reason), "notes": tuple(map(plain, found.notes))}
    return Result(**dict(found) | texts)


def _unreadable(what: str, error: ValidationError) -> Result:
    return Result("crashed", reason=f"the worker's {what} cannot be read: {in_words(error)}")


def in_words(error: ValidationError) -> str:
    """The first thing that is wrong with data of a fixed shape: what was given, and what is asked for."""
    found = error.errors(include_url=False)[0]
    where = ".".join(map(str, found["loc"])) or "it"
    if found["type"] in ("missing", "extra_forbidden"):
        return plain(f"{where} is {'missing' if found['type'] == 'missing' else 'not asked for'}", 200)
    asked = found["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return plain(f"{where} is a {type(found['input']).__name__}, {asked} is asked for", 400)


def _verdict(account: _Account, text: bytes, limits: Limits) -> tuple[Status, str, dict[str, Any] | None]:
    if account.timed_out:
        return "timed_out", f"exceeded {limits.wall_s:g} s of wall time", None
    if account.signal in (signal.SIGXCPU, signal.SIGKILL) and account.cpu_s >= limits.cpu_s - 0.1:
        return "timed_out", f"exceeded {limits.cpu_s:g} s of CPU time", None
    if account.forged:
        return ("crashed", "forged: something wrote to the result channel that was not the job's own result", None)
    if account.too_large or len(text) > limits.result_bytes:
        return "crashed", f"the result is larger than {limits.result_bytes} bytes", None
    if account.signal:
        out_of_memory = "bad_alloc" in account.tail
        return ("out_of_memory" if out_of_memory else "crashed"), f"ended by {_signal_name(account.signal)}", None
    if not account.held:
        return "infrastructure", f"the job did not start: {_failure(text)[1] if text else 'no message'}", None
    if account.kind == "F":
        out_of_memory, reason = _failure(text)
        return ("out_of_memory" if out_of_memory else "crashed"), reason, None
    if account.kind != "V":
        return "crashed", f"ended with exit code {account.code} and no result", None
    try:
        return "ok", "", _decode(text)
    except (ValueError, RecursionError) as error:
        return "crashed", f"the result is not plain JSON: {error}", None


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _failure(text: bytes) -> tuple[bool, str]:
    try:
        failure = _CAUGHT.validate_json(text, strict=True)
    except ValidationError as error:
        return False, f"an unreadable failure: {in_words(error)}"
    return failure.out_of_memory, str(failure)


def _decode(text: bytes) -> dict[str, Any]:
    """A JSON object with finite numbers, whole ones of 64 bits, and text that UTF-8 can hold.

    Raises `ValueError` or `RecursionError` otherwise.
    """
    value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    if b"\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number that JSON has")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is out of range")
    return number


def _bounded(digits: str) -> int:
    if len(digits) > 20 or abs(number := int(digits)) >= 2**63:
        raise ValueError(f"{digits[:24]}... is out of range")
    return number
