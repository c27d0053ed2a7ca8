"""The verdict on one job: `judge` turns a supervisor's account into a `Result`.

It is the only reader of what a job sent, and takes nothing in it for granted: the bytes are bounded already, here
they must be one JSON object with finite numbers and whole characters.
"""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from typing import Any, NoReturn

from asiarc.execution.attempt import Caught
from asiarc.execution.job import Limits, Result, Status


def judge(message: bytes, limits: Limits) -> Result:
    """Turn a worker's reply, the referee's verdict and the supervisor's account, into a result.

    A judged job's value is its referee's and nobody else's; without one it has none.
    """
    line, _, account = message.partition(b"\n")
    result, verdict = account_result(account, limits), json.loads(line)
    if verdict is None or result.status == "infrastructure":
        return result
    spent = (*result.parts_cpu_s, verdict["cpu_s"])
    result = replace(result, cpu_s=result.cpu_s + verdict["cpu_s"], parts_cpu_s=spent)
    if verdict["failure"]:
        return replace(result, status="infrastructure", value=None, reason=f"the referee failed: {verdict['failure']}")
    if result.status != "ok" or verdict["value"] is not None:
        return replace(result, value=verdict["value"] if result.status == "ok" else None)
    return replace(result, status="crashed", value=None, reason="the job ended before its referee was done")


def account_result(message: bytes, limits: Limits) -> Result:
    """Turn a supervisor's account into a result: the only reader of what a job sent."""
    line, _, text = message.partition(b"\n")
    account = json.loads(line)
    if "broken" in account:
        return Result("infrastructure", reason=account["broken"])
    status, reason, value = _verdict(account, text, limits)
    tail = account["tail"].strip()[-500:]
    if tail and status != "ok" and account["kind"] != "F":  # an exception says enough
        reason = f"{reason}; last output: {tail}"
    return Result(
        status,
        value,
        reason,
        account["wall_s"],
        account["cpu_s"],
        account["peak_memory_bytes"],
        tuple(account["held"]),
        tuple(account.get("parts_cpu_s", ())),
    )


def _verdict(account: dict[str, Any], text: bytes, limits: Limits) -> tuple[Status, str, dict[str, Any] | None]:
    if account["timed_out"]:
        return "timed_out", f"exceeded {limits.wall_s:g} s of wall time", None
    if account["signal"] in (signal.SIGXCPU, signal.SIGKILL) and account["cpu_s"] >= math.ceil(limits.cpu_s) - 0.1:
        return "timed_out", f"exceeded {limits.cpu_s:g} s of CPU time", None
    if account["forged"]:
        return ("crashed", "forged: something wrote to the result channel that was not the job's own result", None)
    if account["too_large"] or len(text) > limits.result_bytes:
        return "crashed", f"the result is larger than {limits.result_bytes} bytes", None
    if account["signal"]:
        name = signal.Signals(account["signal"]).name
        out_of_memory = "bad_alloc" in account["tail"]
        return ("out_of_memory" if out_of_memory else "crashed"), f"ended by {name}", None
    if not account["held"]:
        return "infrastructure", f"the job did not start: {_failure(text)[1] if text else 'no message'}", None
    if account["kind"] == "F":
        out_of_memory, reason = _failure(text)
        return ("out_of_memory" if out_of_memory else "crashed"), reason, None
    if account["kind"] != "V":
        return "crashed", f"ended with exit code {account['code']} and no result", None
    try:
        return "ok", "", _decode(text)
    except (ValueError, RecursionError) as error:
        return "crashed", f"the result is not plain JSON: {error}", None


def _failure(text: bytes) -> tuple[bool, str]:
    try:
        failure = _decode(text)
        return failure["out_of_memory"] is True, str(Caught(**failure))
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        return False, f"an unreadable failure: {error}"


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
