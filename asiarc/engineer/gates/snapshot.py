"""What a mixer remembers: every value that its code can reach, as a comparable table.

By rule, not by place: whatever holds other objects is followed through its attributes, slots, items and keys, functions
through their closures, defaults and globals, bound methods to what they are bound to, autograd functions and classes
through what is defined on them. Only modules, and functions and classes that are not the candidate's, are not followed;
what can be neither followed nor compared is refused.
"""

from __future__ import annotations

import gc
import hashlib
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from types import (
    BuiltinFunctionType,
    CellType,
    ClassMethodDescriptorType,
    EllipsisType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from asiarc.engineer.gates.guard import ContractError

_OWN = "candidate_"  # prefix of the module names under which candidates are loaded
_VALUES = (bool, int, float, complex, str, bytes)
_FIXED = frozenset({
    *_VALUES, type(None), EllipsisType, range, slice, torch.dtype, torch.device, torch.Size, torch.layout,
    torch.memory_format, ModuleType, GenericAlias, UnionType, TypeVar, GetSetDescriptorType, MemberDescriptorType,
    MethodDescriptorType, WrapperDescriptorType, MethodWrapperType, ClassMethodDescriptorType,
})  # fmt: skip
_EMPTY = ("object", "_lru_list_elem")  # a mark, and a place in a cache that itself leads to what is in it
_SKIPPED = frozenset({"__builtins__", "__dict__", "__weakref__", "_abc_impl", "__spec__", "__loader__"})


def snapshot(mixer: nn.Module) -> dict[str, str]:
    """Path -> digest of all that is within reach; `ContractError` names what cannot be compared."""
    return _Walk(mixer).table


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The paths whose value is new, gone or other."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def tensors_within(mixer: nn.Module) -> dict[str, Tensor]:
    """Path -> tensor for the tensors that the mixer's code can reach, parameters and buffers among them."""
    return _Walk(mixer, digests=False).tensors


class _Walk:
    def __init__(self, mixer: nn.Module, *, digests: bool = True) -> None:
        self.table: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self._digests = digests
        self._seen: dict[int, Any] = {}  # held, so that no identity is given twice
        waiting = [("mixer", mixer)]
        while waiting:  # no recursion: a candidate may nest deeper than the stack
            waiting += self._visited(*waiting.pop())

    def _visited(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Enters a value, each object once, and gives what it leads to."""
        if type(value) in _FIXED:
            self.table[path] = repr(value)
            return
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        self.table[path] = self._digest(path, value)
        for name, child in _parts(path, value):
            if name not in _SKIPPED:
                yield f"{path}.{name}", child

    def _digest(self, path: str, value: Any) -> str:
        kind = type(value).__name__
        if isinstance(value, Tensor):
            self.tensors[path] = value
            return f"{kind} {[*value.shape]} {value.dtype} {_digest(value) if self._digests else ''}"
        if isinstance(value, torch.Generator):
            return _digest(value.get_state())
        if isinstance(value, _VALUES):
            return f"{kind} {next(plain for plain in _VALUES if isinstance(value, plain)).__repr__(value)}"
        if isinstance(value, (dict, list, tuple, set, frozenset, deque)):
            return f"{kind} of {len(value)}"
        return kind


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a value leads to, by name; nothing for what is not the candidate's."""
    if isinstance(value, (FunctionType, type)):
        if str(value.__module__).startswith(_OWN):
            yield from _parts_of_function(value) if isinstance(value, FunctionType) else vars(value).items()
        return
    held = dict(_held(value))
    yield from held.items()
    yield from next((items(value) for kinds, items in _ITEMS.items() if isinstance(value, kinds)), {}).items()
    if str(type(value).__module__).startswith(_OWN):
        yield "type", type(value)
    if not (held or hasattr(value, "__dict__") or isinstance(value, _FOLLOWED) or type(value).__name__ in _EMPTY):
        raise ContractError(
            f"holds {type(value).__name__} at {path}, and whether that changes between calls cannot be seen; "
            "hold tensors, numbers, text, and lists, tuples, dicts and objects of them"
        )


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    """Attributes and slots."""
    yield from getattr(value, "__dict__", {}).items()
    if isinstance(value, _FOLLOWED):
        return
    for base in type(value).__mro__:
        slots = [name for name, slot in vars(base).items() if isinstance(slot, MemberDescriptorType)]
        yield from ((name, getattr(value, name)) for name in slots if hasattr(value, name))


def _entries(value: Any) -> dict[str, Any]:
    """By key where that is a text, else by place with the key beside the value: it, too, may hold something."""
    pairs = enumerate(value.items())
    return {key if isinstance(key, str) else f"[{i}]": child if isinstance(key, str) else (key, child)
            for i, (key, child) in pairs}  # fmt: skip


def _elements(value: Any) -> dict[str, Any]:
    return {str(index): child for index, child in enumerate(value)}


# What containers, descriptors, bound methods, references and caches lead to.
_ITEMS: dict[tuple[type, ...], Callable[[Any], dict[str, Any]]] = {
    (dict, MappingProxyType): _entries,
    (list, tuple, set, frozenset, deque): _elements,
    (staticmethod, classmethod): lambda v: {"function": v.__func__},
    (property,): lambda v: {"get": v.fget, "set": v.fset, "delete": v.fdel},
    (partial,): lambda v: {"function": v.func, "arguments": v.args, "keywords": v.keywords},
    (CellType,): lambda v: {"content": v.cell_contents},
    (MethodType, BuiltinFunctionType): lambda v: {"self": v.__self__, "function": getattr(v, "__func__", None)},
    (weakref.ref,): lambda v: {"target": v()},
    (type(lru_cache(len)),): lambda v: _elements(gc.get_referents(v)),
    (Tensor,): lambda v: {"hooks": v._backward_hooks},
    (torch.Generator, *_VALUES): lambda v: {},
}
_FOLLOWED = tuple(kind for kinds in _ITEMS for kind in kinds)


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    yield from {"closure": function.__closure__, "defaults": function.__defaults__}.items()
    yield from {"keywords": function.__kwdefaults__, "globals": function.__globals__, **vars(function)}.items()


def _digest(tensor: Tensor) -> str:
    if tensor.layout != torch.strided:
        raise ContractError(f"holds a tensor of layout {tensor.layout}; hold plain, dense ones")
    if tensor.numel() == 0 or tensor.is_meta:
        return ""
    plain = tensor.detach().as_subclass(Tensor).cpu().contiguous().reshape(-1)
    return hashlib.blake2b(plain.view(torch.uint8).numpy().tobytes(), digest_size=8).hexdigest()
