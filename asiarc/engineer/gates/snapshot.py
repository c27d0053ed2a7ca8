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
    walk = _Walk()
    walk.visit("mixer", mixer)
    return walk.table


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The paths whose value is new, gone or other."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def tensors_within(mixer: nn.Module) -> dict[str, Tensor]:
    """Path -> tensor for the tensors that the mixer's code can reach, parameters and buffers among them."""
    walk = _Walk()
    walk.visit("mixer", mixer)
    return walk.tensors


class _Walk:
    def __init__(self) -> None:
        self.table: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self._seen: set[int] = set()

    def visit(self, path: str, value: Any) -> None:
        """Enters a value and all that it leads to, each object once."""
        if isinstance(value, _PLAIN):
            self.table[path] = repr(value)
            return
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self.tensors[path] = value
            self.table[path] = f"{[*value.shape]} {value.dtype} {_digest(value)}"
        elif isinstance(value, (list, tuple, set, frozenset)):
            self.table[path] = f"{type(value).__name__} of {len(value)}"
        elif hasattr(value, "__next__"):
            self.table[path] = f"an iterator, which moves on unseen ({id(self)})"
        for key, child in _parts(value).items():
            if not (isinstance(key, str) and key.startswith("__")):
                self.visit(f"{path}.{key}", child)


def _parts(value: Any) -> dict[Any, Any]:
    """What a value leads to; nothing for what is not the candidate's."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return dict(enumerate(value))
    if isinstance(value, (staticmethod, classmethod)):
        return {"function": value.__func__}
    if isinstance(value, FunctionType):
        return _parts_of_function(value) if _is_own(value) else {}
    if isinstance(value, type):
        return dict(vars(value)) if _is_own(value) else {}
    if isinstance(value, Tensor):
        return dict(vars(value))
    if isinstance(value, nn.Module) or _is_own(type(value)):
        return {"type": type(value), **vars(value)}
    return {}


def _parts_of_function(function: FunctionType) -> dict[str, Any]:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    defaults = {"defaults": function.__defaults__, "keywords": function.__kwdefaults__}
    return {"closure": cells, **defaults, "globals": function.__globals__, **vars(function)}


def _is_own(definition: type | FunctionType) -> bool:
    return str(definition.__module__).startswith(_OWN)


def _digest(tensor: Tensor) -> str:
    if tensor.numel() == 0 or tensor.is_meta:
        return ""
    plain = tensor.detach().as_subclass(Tensor).contiguous().reshape(-1)
    data = plain.double().numpy() if not plain.is_complex() else plain.numpy()
    return hashlib.blake2b(data.tobytes(), digest_size=8).hexdigest()
