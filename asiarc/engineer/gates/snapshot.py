"""What a mixer remembers: every Python value and tensor that its code can reach, as a comparable table."""

from __future__ import annotations

import hashlib
from types import FunctionType
from typing import Any

from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_OWN = "candidate_"  # prefix of the module names under which candidates are loaded


def snapshot(mixer: nn.Module) -> dict[str, str]:
    """Path -> digest of what is held by the mixer, its classes, the globals and the closures of the candidate."""
    table: dict[str, str] = {}
    _walk("mixer", mixer, table, set())
    return table


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The paths whose value is new, gone or other."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def tensors_within(mixer: nn.Module) -> dict[str, Tensor]:
    """Path -> tensor for the tensors that the mixer's code can reach, parameters and buffers among them."""
    found: dict[str, Tensor] = {}
    _walk("mixer", mixer, {}, set(), found)
    return found


def _walk(path: str, value: Any, table: dict[str, str], seen: set[int], tensors: dict[str, Tensor] | None = None) -> None:
    if isinstance(value, _PLAIN):
        table[path] = repr(value)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if tensors is not None:
            tensors[path] = value
        table[path] = f"{[*value.shape]} {value.dtype} {_digest(value)}"
        _children(path, vars(value) if hasattr(value, "__dict__") else {}, table, seen, tensors)
    elif isinstance(value, dict):
        _children(path, value, table, seen, tensors)
    elif isinstance(value, (list, tuple, set, frozenset)):
        table[path] = f"{type(value).__name__} of {len(value)}"
        _children(path, dict(enumerate(value)), table, seen, tensors)
    elif isinstance(value, FunctionType):
        if _is_own(value):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            parts = {"closure": cells, "defaults": value.__defaults__, "keywords": value.__kwdefaults__}
            _children(path, {**parts, "globals": value.__globals__, **vars(value)}, table, seen, tensors)
    elif isinstance(value, (staticmethod, classmethod)):
        _walk(path, value.__func__, table, seen, tensors)
    elif isinstance(value, type):
        if _is_own(value):
            _children(path, dict(vars(value)), table, seen, tensors)
    elif hasattr(value, "__next__"):
        table[path] = f"an iterator, which moves on unseen ({len(seen)})"
    elif isinstance(value, nn.Module) or _is_own(type(value)):
        _walk(f"{path}.type", type(value), table, seen, tensors)
        _children(path, vars(value), table, seen, tensors)


def _children(
    path: str, items: dict[Any, Any], table: dict[str, str], seen: set[int], tensors: dict[str, Tensor] | None
) -> None:
    for key, child in list(items.items()):
        if not (isinstance(key, str) and key.startswith("__") and key != "__closure__"):
            _walk(f"{path}.{key}", child, table, seen, tensors)


def _is_own(definition: type | FunctionType) -> bool:
    return str(definition.__module__).startswith(_OWN)


def _digest(tensor: Tensor) -> str:
    if tensor.numel() == 0 or tensor.is_meta:
        return ""
    plain = tensor.detach().as_subclass(Tensor).contiguous().reshape(-1)
    data = plain.double().numpy() if not plain.is_complex() else plain.numpy()
    return hashlib.blake2b(data.tobytes(), digest_size=8).hexdigest()
