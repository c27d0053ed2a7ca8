"""Two trees of data, leaf by leaf."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any


def differences(stored: Any, due: Any, where: str = "") -> Iterator[str]:
    """The leaves in which two trees of data part; floats to nine digits, which another machine may round otherwise."""
    if isinstance(stored, dict) and isinstance(due, dict):
        for key in dict.fromkeys([*stored, *due]):
            inner = f"{where}.{key}".lstrip(".")
            if key not in stored or key not in due:
                yield f"{inner}: {'missing' if key in due else 'nothing that its data give'}"
            else:
                yield from differences(stored[key], due[key], inner)
    elif isinstance(stored, list) and isinstance(due, list):
        if len(stored) != len(due):
            yield f"{where}: {len(stored)} entries, its data give {len(due)}"
        for place, (mine, other) in enumerate(zip(stored, due, strict=False)):
            yield from differences(mine, other, f"{where}[{_named(mine, place)}]")
    elif not _same(stored, due):
        yield f"{where} is {stored!r}, its data give {due!r}"


def _named(row: Any, place: int) -> Any:
    """What a row of a list is called, where it has a name."""
    names = ("name", "claim", "id", "stage", "baseline", "arm")
    return next((row[n] for n in names if isinstance(row.get(n), str)), place) if isinstance(row, dict) else place


def close(stored: float, due: float, apart: float = 0.0) -> bool:
    """Equal to nine digits, or `apart`."""
    return math.isclose(stored, due, rel_tol=1e-9, abs_tol=apart + 1e-12)


def _same(stored: Any, due: Any) -> bool:
    if isinstance(due, float) and isinstance(stored, (int, float)) and not isinstance(stored, bool):
        return close(stored, due)
    return type(stored) is type(due) and bool(stored == due)
